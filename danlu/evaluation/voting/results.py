"""What came of votes: win rates, usable shares, and how far voters agree."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from danlu.evaluation.contests import answer_text
from danlu.evaluation.judging.pairwise import Judged, Outcome, Winner, outcome
from danlu.evaluation.statistics.agreement import cohen_kappa, fleiss_kappa
from danlu.evaluation.statistics.proportions import wilson
from danlu.evaluation.store.votes import Subject, Vote
from danlu.evaluation.voting.ballots import Ballot, Paired

INVERTED_FROM = 10
"""Ballots in common from which a voter who agrees with the others less than chance is named."""
_WINS: dict[str, float] = {"a": 0.0, "tie": 0.5, "both_bad": 0.5, "b": 1.0}
T = TypeVar("T")
R = TypeVar("R")
Labels = Mapping[Subject, Mapping[str, str]]
"""By subject and voter, what the voter said, whichever side it stood on."""


@dataclass(frozen=True, slots=True)
class Voter:
    """One person's votes.

    Attributes:
        name: Who.
        votes: Verdicts.
        skipped: Ballots passed over.
        left: Verdicts for the answer at the left, of those with a winner.
        decided: Verdicts with a winner.
        seconds: Median time of a verdict.
        kappa: Cohen's, against what most of the others say; None if that is undefined.
        shared: Ballots that others have decided too.
    """

    name: str
    votes: int
    skipped: int
    left: int
    decided: int
    seconds: float
    kappa: float | None
    shared: int

    @property
    def contrary(self) -> bool:
        """Whether this voter agrees with the others less than chance would."""
        return self.kappa is not None and self.kappa < 0 and self.shared >= INVERTED_FROM


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far voters agree on the ballots that they share.

    Attributes:
        cohen: Per pair of voters, Cohen's kappa (None if undefined) and the ballots in common.
        fleiss: Fleiss' kappa of all voters; None with fewer than two, or if undefined.
        ballots: That all of them have decided.
    """

    cohen: Mapping[tuple[str, str], tuple[float | None, int]]
    fleiss: float | None
    ballots: int


@dataclass(frozen=True, slots=True)
class Usable:
    """How many of one evaluation's answers people call usable.

    Attributes:
        usable: So many.
        answers: Of so many with a verdict by most.
        low: Lower end of Wilson's interval.
        high: Upper end.
        undecided: Answers on which as many say the one as the other.
    """

    usable: int
    answers: int
    low: float
    high: float
    undecided: int


def pair_labels(pairs: Iterable[Paired], votes: Iterable[Vote]) -> dict[Subject, dict[str, str]]:
    """Return by pair and voter: ``a``, ``b``, ``tie`` or ``both_bad``; skips are left out."""
    sides = {one.subject: (one.a, one.b) for one in pairs if one.a != one.b}
    found: dict[Subject, dict[str, str]] = defaultdict(dict)
    for vote in votes:
        if vote.subject in sides and vote.verdict != "skip":
            better = vote.better()
            a, _ = sides[vote.subject]
            label = vote.verdict if better is None else "a" if better == a else "b"
            found[vote.subject][vote.voter] = label
    return dict(found)


def single_labels(
    subjects: Collection[Subject], votes: Iterable[Vote]
) -> dict[Subject, dict[str, str]]:
    """Return by answer and voter: ``usable`` or ``unusable``; skips are left out."""
    found: dict[Subject, dict[str, str]] = defaultdict(dict)
    for vote in votes:
        if vote.subject in subjects and vote.verdict != "skip":
            found[vote.subject][vote.voter] = vote.verdict
    return dict(found)


def win_of(labels: Mapping[str, str]) -> float:
    """Return what most voters say of one pair: 1 B, 0 A, 0.5 neither.

    Example:
        >>> win_of({"ann": "b", "bo": "b", "cy": "a"}), win_of({"ann": "b", "bo": "a"})
        (1.0, 0.5)
    """
    mean = sum(_WINS[label] for label in labels.values()) / len(labels)
    return 0.5 if math.isclose(mean, 0.5) else float(mean > 0.5)


def usable_of(labels: Mapping[str, str]) -> bool | None:
    """Return whether most voters call an answer usable; None if as many do not."""
    usable = sum(label == "usable" for label in labels.values())
    return None if 2 * usable == len(labels) else 2 * usable > len(labels)


def pair_outcomes(pairs: Sequence[Paired], labels: Labels) -> dict[str, Outcome]:
    """Return B's win rate by task type, and of all under the empty name.

    Of the pairs that differ: equal answers are nobody's choice, and as long as not all others are
    voted on, counting them as ties would draw the rate to one half. Pairs without votes are
    missing.
    """
    rows = [_judged(one, labels) for one in pairs if one.a != one.b]
    return by_type(rows, lambda row: row.task_type, outcome)


def single_outcomes(ballots: Sequence[Ballot], labels: Labels) -> dict[str, Usable]:
    """Return the share of usable answers by task type, and of all under the empty name."""
    decided = [ballot for ballot in ballots if ballot.subject in labels]

    def of(found: Sequence[Ballot]) -> Usable:
        said = [usable_of(labels[ballot.subject]) for ballot in found]
        counts = Counter(said)
        many = counts[True] + counts[False]
        low, high = wilson(counts[True], many) if many else (math.nan, math.nan)
        return Usable(counts[True], many, float(low), float(high), counts[None])

    return by_type(decided, lambda ballot: ballot.item.task_type, of)


def voters(votes: Sequence[Vote], labels: Labels) -> list[Voter]:
    """Return each voter's figures, by name.

    Args:
        votes: On what ``labels`` is about.
        labels: From ``pair_labels`` or ``single_labels``.
    """
    found = []
    for name in sorted({vote.voter for vote in votes}):
        own = [vote for vote in votes if vote.voter == name]
        decided = [vote for vote in own if vote.verdict in ("left", "right")]
        kappa, shared = _against_others(name, labels)
        times = sorted(vote.seconds for vote in own)
        found.append(
            Voter(
                name,
                votes=sum(vote.verdict != "skip" for vote in own),
                skipped=sum(vote.verdict == "skip" for vote in own),
                left=sum(vote.verdict == "left" for vote in decided),
                decided=len(decided),
                seconds=times[len(times) // 2],
                kappa=kappa,
                shared=shared,
            )
        )
    return found


def agreements(labels: Labels, task_types: Mapping[Subject, str]) -> dict[str, Agreement]:
    """Return the agreement of all under the empty name, and of each task type under its own."""
    found: dict[str, dict[Subject, Mapping[str, str]]] = defaultdict(dict)
    for subject, of in labels.items():
        found[task_types[subject]][subject] = of
    return {"": agreement(labels)} | {name: agreement(found[name]) for name in sorted(found)}


def agreement(labels: Labels) -> Agreement:
    """Return Cohen's kappa of each two voters, and Fleiss' of all."""
    names = sorted({name for of in labels.values() for name in of})
    cohen = {}
    for one, two in combinations(names, 2):
        both = [(of[one], of[two]) for of in labels.values() if one in of and two in of]
        cohen[one, two] = (kappa_of(both), len(both))
    whole = [of for of in labels.values() if len(of) == len(names)] if len(names) > 1 else []
    kinds = sorted({label for of in whole for label in of.values()})
    try:
        table = [[list(of.values()).count(kind) for kind in kinds] for of in whole]
        fleiss = fleiss_kappa(table) if whole else None
    except ValueError:  # all ratings are one and the same label: kappa is 0/0
        fleiss = None
    return Agreement(cohen, fleiss, len(whole))


def kappa_of(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa; None if there are no pairs, or all labels are one and the same."""
    try:
        return cohen_kappa([one for one, _ in pairs], [two for _, two in pairs])
    except ValueError:
        return None


def by_type(
    rows: Sequence[T], task_type: Callable[[T], str], of: Callable[[Sequence[T]], R]
) -> dict[str, R]:
    """Return a figure of all rows under the empty name, and of each task type under its own."""
    types: dict[str, list[T]] = defaultdict(list)
    for row in rows:
        types[task_type(row)].append(row)
    return {"": of(rows)} | {name: of(types[name]) for name in sorted(types)}


def _judged(one: Paired, labels: Labels) -> Judged:
    item, a, b = one.contest
    win = None
    said: tuple[tuple[Winner | None, Winner | None], ...] = ()
    if one.subject in labels:
        win = win_of(labels[one.subject])
        winner: Winner = "tie" if win == 0.5 else "b" if win else "a"
        said = ((winner, winner),)
    longer = math.log((1 + len(answer_text(b))) / (1 + len(answer_text(a))))
    return Judged(item.id, item.task_type, a.sample, win, said, "", longer, item.cluster)


def _against_others(name: str, labels: Labels) -> tuple[float | None, int]:
    """Compare one voter with the commonest label of the others; undecided others are left out."""
    both = []
    for of in labels.values():
        others = [label for voter, label in of.items() if voter != name]
        if name not in of or not others:
            continue
        (first, count), *rest = Counter(others).most_common(2)
        if not rest or rest[0][1] < count:
            both.append((of[name], first))
    return kappa_of(both), len(both)
