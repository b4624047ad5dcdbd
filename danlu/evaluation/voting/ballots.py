"""What is put to the vote: pairs of answers whose sides are shuffled, or answers one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.contests import Contest, answer_text, contests
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.schema import Item
from danlu.evaluation.store.keys import answer_key, question_key
from danlu.evaluation.store.votes import PAIR, SINGLE, Subject, Verdict


class Side(NamedTuple):
    """One answer on a ballot.

    Attributes:
        key: Of its content.
        text: The answer.
    """

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Ballot:
    """One question to a voter.

    Attributes:
        subject: What a verdict is remembered by.
        item: The prompt, with its reference.
        left: The answer at the left, or the only one.
        right: The other; None for one answer.
        sources: Paths of the evaluations.
    """

    subject: Subject
    item: Item
    left: Side
    right: Side | None
    sources: tuple[str, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Return the verdicts that it takes."""
        return PAIR if self.right else SINGLE


class Paired(NamedTuple):
    """One pair of answers, and how it is known to voters.

    Attributes:
        contest: The pair.
        a: Key of A's answer; empty if one is missing.
        b: Key of B's.
        subject: What votes on it are kept under.
    """

    contest: Contest
    a: str
    b: str
    subject: Subject


def paired(a: EvalDirectory, b: EvalDirectory, patterns: Sequence[str] = ()) -> list[Paired]:
    """Return the answered pairs of two evaluations, in the order of the suite.

    Args:
        a: The earlier version.
        b: The later.
        patterns: Of task types; none: all.

    Raises:
        EvaluationError: If no prompt is answered in both, or no task type fits.
    """
    items = chosen(a.items(), patterns)
    found = []
    for contest in contests(items, b.items(), list(a.answers()), list(b.answers())):
        if contest.a.text is None or contest.b.text is None:
            continue
        one, two = answer_key(answer_text(contest.a)), answer_key(answer_text(contest.b))
        asked = question_key(contest.item.messages)
        found.append(Paired(contest, one, two, Subject.of(asked, one, two)))
    if not found:
        raise EvaluationError(
            "no prompt has an answer in both evaluations: there is nothing to compare.",
            where=f"{a.path}, {b.path}",
        )
    return found


def pair_ballots(pairs: Iterable[Paired], sources: Sequence[str], seed: int = 0) -> list[Ballot]:
    """Make ballots of pairs, blind: which side is whose is drawn.

    Equal answers need no vote, and a pair that occurs twice is asked once. Prompts come in an order
    that depends on the prompt only: the same for every voter, pair of evaluations and day, and so
    mixed that whoever stops early has seen a fair sample of all task types.

    Args:
        pairs: Of two evaluations.
        sources: Their paths.
        seed: Another seed, other sides; the sides of a pair depend on nothing else.
    """
    made: dict[Subject, Ballot] = {}
    for one in pairs:
        if one.a == one.b or one.subject in made:
            continue
        sides = (
            Side(one.a, answer_text(one.contest.a)),
            Side(one.b, answer_text(one.contest.b)),
        )
        low, high = sorted(sides)
        left, right = (high, low) if _coin(seed, one.subject) else (low, high)
        made[one.subject] = Ballot(one.subject, one.contest.item, left, right, tuple(sources))
    return _in_order(made.values())


def single_ballots(directory: EvalDirectory, patterns: Sequence[str] = ()) -> list[Ballot]:
    """Make ballots of one evaluation's answers: usable or not.

    Args:
        directory: Whose.
        patterns: Of task types; none: all.

    Raises:
        EvaluationError: If nothing is answered, or no task type fits.
    """
    items = {item.id: item for item in chosen(directory.items(), patterns)}
    made: dict[Subject, Ballot] = {}
    source = (str(directory.path.resolve()),)
    for answer in directory.answers():
        if answer.text is None or answer.item not in items:
            continue
        item = items[answer.item]
        text = answer_text(answer)
        side = Side(answer_key(text), text)
        subject = Subject.of(question_key(item.messages), side.key)
        made.setdefault(subject, Ballot(subject, item, side, None, source))
    if not made:
        raise EvaluationError("has no answers to vote on.", where=str(directory.path))
    return _in_order(made.values())


def chosen(items: Sequence[Item], patterns: Sequence[str]) -> list[Item]:
    """Return the items whose task type fits a pattern.

    Raises:
        EvaluationError: If a pattern fits none.
    """
    if not patterns:
        return list(items)
    types = sorted({item.task_type for item in items})
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in types):
            raise EvaluationError(
                f"no task type fits {pattern!r}.{did_you_mean(pattern, types)}", where="task type"
            )
    return [i for i in items if any(fnmatchcase(i.task_type, one) for one in patterns)]


def as_row(ballot: Ballot) -> dict[str, Any]:
    """Return a ballot as JSON has it, without what would say whose answer is whose."""
    return {
        "item": ballot.item.id,
        "task_type": ballot.item.task_type,
        "messages": list(ballot.item.messages),
        "reference": ballot.item.reference,
        "left": ballot.left.text,
        "right": ballot.right.text if ballot.right else None,
        "verdicts": list(ballot.verdicts),
    }


def _in_order(ballots: Iterable[Ballot]) -> list[Ballot]:
    # Keys are hashes, so their order is a shuffle; the subject only settles samples of a prompt.
    return sorted(ballots, key=lambda ballot: ballot.subject)


def _coin(seed: int, subject: Subject) -> bool:
    return bool(hashlib.blake2b(f"{seed}/{subject}".encode(), digest_size=1).digest()[0] & 1)
