"""Scored rows of two versions, paired by prompt: the input of a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.statistics.inputs import Floats

Incomplete = Literal["error", "count"]


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """What one version got for one prompt.

    Attributes:
        prompt: Its id; the same in both versions.
        task_type: ``area/skill``.
        score: Higher is better; None if there is none (a reply that could not be parsed, a judge
            that failed): missing is never 0.
        cluster: What it shares with others: the source document, the template; None: nothing.
    """

    prompt: str
    task_type: str
    score: float | None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class Stakes:
    """What a task type's scores are, and how much they matter.

    Attributes:
        weight: Of the task type in its area and in all; 1 by default, so that each task type
            counts the same however many prompts it has.
        critical: Whether the gate asks for it.
        margin: The smallest difference that matters, as a share of the scores' range. 0.1, ten
            points, is what a user of the model notices; the gate's margins are usually smaller.
        low: The lowest score there can be.
        high: The highest.

    Raises:
        EvaluationError: If the weight is negative, the margin not a share, or the range empty.
    """

    weight: float = 1.0
    critical: bool = False
    margin: float = 0.1
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise EvaluationError(f"is {self.weight}; it must be 0 or more.", where="weight")
        if not 0 < self.margin <= 1:
            raise EvaluationError(
                f"is {self.margin}; it is a share of the scores' range, above 0 and at most 1.",
                where="margin",
            )
        if not -math.inf < self.low < self.high < math.inf:
            raise EvaluationError(
                f"runs from {self.low} to {self.high}; the lowest score must be below the highest.",
                where="range",
            )


@dataclass(frozen=True, slots=True)
class Pairs:
    """The prompts of one task type that both versions have a score for.

    Attributes:
        task_type: Its name.
        stakes: Of it.
        prompts: (N,) ids.
        a: (N,) scores of A, as shares of the range: 0 is the lowest, 1 the highest.
        b: (N,) scores of B.
        clusters: (N,) labels; a prompt without cluster has its own.
        missing_a: Prompts of both to which A has no score.
        missing_b: Prompts of both to which B has no score.
        only_a: Prompts that only A was asked.
        only_b: Prompts that only B was asked.
    """

    task_type: str
    stakes: Stakes
    prompts: tuple[str, ...]
    a: Floats
    b: Floats
    clusters: NDArray[Any]
    missing_a: int
    missing_b: int
    only_a: int
    only_b: int


def pair(
    a: Iterable[ScoredRow],
    b: Iterable[ScoredRow],
    stakes: Mapping[str, Stakes],
    *,
    incomplete: Incomplete = "error",
) -> list[Pairs]:
    """Pair the rows of two versions by prompt, per task type in the order of their names.

    Args:
        a: Of the earlier version.
        b: Of the later.
        stakes: By task type; those not named have the default.
        incomplete: What to do with a prompt that has no score on one side: an error, or leave it
            out and count it.

    Raises:
        EvaluationError: If there is nothing to compare, a prompt occurs twice on a side, its task
            type or cluster differs, a score is missing (unless counted) or out of its range.
    """
    of_a, of_b = _by_prompt(a, "A"), _by_prompt(b, "B")
    rows: dict[str, list[tuple[ScoredRow | None, ScoredRow | None]]] = {}
    for prompt in of_a | of_b:
        one, two = of_a.get(prompt), of_b.get(prompt)
        if one and two and one.task_type != two.task_type:
            raise EvaluationError(
                f"is {one.task_type} in A and {two.task_type} in B; name it alike in both.",
                where=f"task type of the prompt {prompt}",
            )
        if one and two and one.cluster != two.cluster:
            raise EvaluationError(
                f"is {one.cluster!r} in A and {two.cluster!r} in B; name it alike in both.",
                where=f"cluster of the prompt {prompt}",
            )
        rows.setdefault((one or two).task_type, []).append((one, two))  # type: ignore[union-attr]
    for name in stakes:
        if name not in rows:
            raise EvaluationError(
                f"no prompt is of this task type.{did_you_mean(name, rows)}", where=name
            )
    if incomplete == "error":
        _check_complete([sides for of_type in rows.values() for sides in of_type])
    return [_pairs(name, rows[name], stakes.get(name, Stakes())) for name in sorted(rows)]


def _by_prompt(rows: Iterable[ScoredRow], side: str) -> dict[str, ScoredRow]:
    found: dict[str, ScoredRow] = {}
    for row in rows:
        if row.prompt in found:
            raise EvaluationError(
                f"{side} has this prompt twice. Average the samples of a prompt before comparing.",
                where=row.prompt,
            )
        area, _, skill = row.task_type.partition("/")
        if not area or not skill:
            raise EvaluationError(
                f"its task type is {row.task_type!r}; it must be area/skill.", where=row.prompt
            )
        found[row.prompt] = row
    if not found:
        raise EvaluationError(f"{side} has no scored rows: there is nothing to compare.")
    return found


def _check_complete(sides: Sequence[tuple[ScoredRow | None, ScoredRow | None]]) -> None:
    for place, side in enumerate("AB"):
        absent = [(pair[0] or pair[1]) for pair in sides if pair[place] is None]
        without = [row for pair in sides if (row := pair[place]) and not _has_score(row)]
        for rows, what in ((absent, "was not asked"), (without, "has no score for")):
            if rows:
                named = ", ".join(row.prompt for row in islice(rows, 3) if row)
                raise EvaluationError(
                    f"{side} {what} {len(rows)} of {len(sides)} prompts: {named}"
                    f"{' ...' if len(rows) > 3 else ''}. Score them, or leave "
                    "them out and have them counted (--missing count)."
                )


def _has_score(row: ScoredRow) -> bool:
    return row.score is not None and not math.isnan(row.score)


def _pairs(
    name: str, rows: Sequence[tuple[ScoredRow | None, ScoredRow | None]], stakes: Stakes
) -> Pairs:
    asked = [(one, two) for one, two in rows if one and two]
    both = [(one, two) for one, two in asked if _has_score(one) and _has_score(two)]
    if not both:
        raise EvaluationError("no prompt has a score in both versions.", where=name)
    clusters = [
        f"cluster {one.cluster}" if one.cluster is not None else f"prompt {one.prompt}"
        for one, _ in both
    ]
    return Pairs(
        task_type=name,
        stakes=stakes,
        prompts=tuple(one.prompt for one, _ in both),
        a=_shares(name, [one for one, _ in both], stakes),
        b=_shares(name, [two for _, two in both], stakes),
        clusters=np.array(clusters),
        missing_a=sum(not _has_score(one) for one, _ in asked),
        missing_b=sum(not _has_score(two) for _, two in asked),
        only_a=sum(two is None for _, two in rows),
        only_b=sum(one is None for one, _ in rows),
    )


def _shares(name: str, rows: Sequence[ScoredRow], stakes: Stakes) -> Floats:
    scores = np.array([row.score for row in rows], dtype=np.float64)
    outside = np.flatnonzero((scores < stakes.low) | (scores > stakes.high))
    if len(outside):
        first = rows[outside[0]]
        raise EvaluationError(
            f"{len(outside)} scores lie outside {stakes.low:g} to {stakes.high:g}, first "
            f"{first.score:g} of {first.prompt}. Say in the stakes of the task type what the "
            "lowest and the highest score are.",
            where=name,
        )
    found: Floats = (scores - stakes.low) / (stakes.high - stakes.low)
    return found
