"""Which turns are worth a better answer, and which are good as they are.

Of the rules that hold, the first of ``RULES`` is the one that counts; the record keeps all.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from danlu.flywheel.chains import Link, prompt_digest
from danlu.flywheel.config import KeepSection, VotersSection
from danlu.flywheel.signals import asks_again, says_thanks, says_wrong
from danlu.flywheel.voters import Ballot, Verdict, judge_voters, trusted
from danlu.workshop.likeness.text import fold

Rule = Literal[
    "corrected", "vote pair", "thumbs down", "follow-up", "asked again", "fruitful session"
]
RULES: tuple[Rule, ...] = (
    "corrected",
    "vote pair",
    "thumbs down",
    "follow-up",
    "asked again",
    "fruitful session",
)
REPEATED = "repeated error"
"""Beside another rule: answers to the same question were bad more than once."""


@dataclass(frozen=True)
class Find:
    """A turn, and what speaks for it.

    Attributes:
        link: The turn.
        rules: What holds, the first of ``RULES`` first; empty if nothing does.
        evidence: What the first rule rests on, in a few words.
        given: The better answer, where somebody gave it, or another one was voted up.
        complaint: What the user said next, where that was a complaint.
        ups: Votes up that count.
        downs: Votes down that count.
        ignored: Votes that do not count.
        bad: How often answers to this question were bad.
    """

    link: Link
    rules: tuple[str, ...] = ()
    evidence: str = ""
    given: str = ""
    complaint: str = ""
    ups: int = 0
    downs: int = 0
    ignored: int = 0
    bad: int = 0

    @property
    def rule(self) -> str:
        """The rule that counts; empty if none holds."""
        return self.rules[0] if self.rules else ""

    @property
    def is_good(self) -> bool:
        """Whether the conversation is taken as it is."""
        return self.rule == "fruitful session"


@dataclass(frozen=True)
class Chosen:
    """All turns, and what is said of the voters.

    Attributes:
        finds: One per turn, in the order in which they were read.
        voters: By voter.
    """

    finds: list[Find]
    voters: dict[str, Verdict] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Count the turns by the rule that counts."""
        counts = Counter(find.rule for find in self.finds if find.rule)
        return {rule: counts[rule] for rule in RULES if counts[rule]}


class _Votes:
    """The votes that count, by item."""

    def __init__(self, links: Sequence[Link], settings: VotersSection) -> None:
        self._items = {link.seen.key: _item(link) for link in links}
        own: dict[str, list[Ballot]] = {}
        for link in links:
            item = self._items[link.seen.key]
            own[link.seen.key] = [
                Ballot(item, vote.voter, vote.up)
                for vote in link.seen.turn.votes
                if vote.up is not None
            ]
        ballots = [one for some in own.values() for one in some]
        self.verdicts = judge_voters(ballots, min_votes=settings.min_votes, level=settings.level)
        self._counted = {
            key: trusted(
                some, self.verdicts, inverted=settings.inverted, constant=settings.constant
            )
            for key, some in own.items()
        }
        self._cast = {key: len(some) for key, some in own.items()}

    def of(self, link: Link) -> tuple[int, int, int]:
        """Return votes up, votes down, and votes that do not count."""
        counted = self._counted[link.seen.key]
        ups = sum(one.up for one in counted)
        return ups, len(counted) - ups, self._cast[link.seen.key] - len(counted)


def choose(links: Sequence[Link], keep: KeepSection, voters: VotersSection) -> Chosen:
    """Judge the voters, then look at every turn.

    Args:
        links: All turns, joined to conversations.
        keep: Which rules.
        voters: Whose votes count.
    """
    votes = _Votes(links, voters)
    finds = {link: _look(link, votes, keep, votes.verdicts, voters) for link in links}
    if keep.fruitful:
        for link in links:
            if not link.after and not finds[link].rules:
                finds[link] = _fruitful(finds, link, keep)
    if keep.vote_pairs:
        _pair(finds)
    bad = Counter(_question(link) for link, find in finds.items() if find.rule and not find.is_good)
    for link, find in finds.items():
        count = bad[_question(link)]
        if count > 1 and find.rule and not find.is_good:
            finds[link] = replace(find, rules=(*find.rules, REPEATED), bad=count)
    return Chosen([finds[link] for link in links], votes.verdicts)


def _look(
    link: Link,
    votes: _Votes,
    keep: KeepSection,
    verdicts: Mapping[str, Verdict],
    settings: VotersSection,
) -> Find:
    """Return what speaks against the answer of one turn."""
    ups, downs, ignored = votes.of(link)
    evidence: dict[Rule, str] = {}
    corrected = complaint = ""
    believed = [
        vote
        for vote in sorted(link.seen.turn.votes, key=lambda one: one.time)
        if settings.inverted != "ignore" or not _is_inverted(vote.voter, verdicts)
    ]
    for vote in believed:
        corrected = vote.corrected.strip() or corrected
    if keep.corrected and corrected and fold(corrected) != fold(link.answer):
        evidence["corrected"] = "the right answer was given"
    else:
        corrected = ""
    if keep.thumbs_down and downs > ups:
        evidence["thumbs down"] = f"{downs} down, {ups} up"
    for after in link.after:
        wrong = says_wrong(after.question, keep.patterns)
        if keep.follow_ups and wrong:
            evidence["follow-up"] = wrong
        again = keep.repeats and asks_again(link.question, after.question)
        if again:
            evidence["asked again"] = "the same question came next"
        if (wrong and keep.follow_ups) or again:
            complaint = after.question
            break
    if downs > ups and not complaint:
        said = [vote.text for vote in believed if vote.text and vote.up is not True]
        complaint = said[-1] if said else ""
    rules = tuple(rule for rule in RULES if rule in evidence)
    first = evidence[rules[0]] if rules else ""
    return Find(link, rules, first, corrected, complaint, ups, downs, ignored)


def _is_inverted(voter: str, verdicts: Mapping[str, Verdict]) -> bool:
    return voter in verdicts and verdicts[voter].state == "inverted"


def _fruitful(finds: Mapping[Link, Find], last: Link, keep: KeepSection) -> Find:
    """Say that a session went well, if it was long, nothing speaks against it and something for it.

    A session goes well if an answer was voted up, or the user said thanks.
    """
    chain = last.chain()
    asked = sum(one.role == "user" for one in last.messages)
    find = finds[last]
    if asked < keep.fruitful_turns or any(finds[one].rules for one in chain):
        return find
    if any(finds[one].downs for one in chain):
        return find
    users = [one.content or "" for one in last.messages if one.role == "user"]
    if any(says_wrong(text, keep.patterns) for text in users[1:]):
        return find
    praised = next((one for one in chain if finds[one].ups), None)
    thanks = next((said for text in users[1:] if (said := says_thanks(text))), None)
    if praised is None and thanks is None:
        return find
    why = f"{asked} questions, " + ("a vote up" if praised else f"“{thanks}”")
    return replace(find, rules=("fruitful session",), evidence=why)


def _pair(finds: dict[Link, Find]) -> None:
    """Give answers that were voted down the one to the same prompt that was voted up most.

    Only where somebody gave no better answer already; tool calls are no text to compare.
    """
    of_prompt: dict[bytes, list[Link]] = defaultdict(list)
    for link in finds:
        of_prompt[prompt_digest(link.messages)].append(link)
    for links in of_prompt.values():
        best = max(links, key=lambda one: finds[one].ups - finds[one].downs)
        if finds[best].ups <= finds[best].downs or not best.answer.strip():
            continue
        for link in links:
            find = finds[link]
            if find.given or find.downs <= find.ups or fold(link.answer) == fold(best.answer):
                continue
            finds[link] = replace(
                find,
                rules=("vote pair", *find.rules),
                evidence=f"{find.downs} down, and another answer {finds[best].ups} up",
                given=best.answer,
            )


def _item(link: Link) -> str:
    """Name what is voted on: the same answer to the same prompt, whoever got it."""
    digest = hashlib.blake2b(prompt_digest(link.messages), digest_size=10)
    digest.update(link.answer.strip().encode())
    return digest.hexdigest()


def _question(link: Link) -> str:
    return fold(link.question)
