"""Share of the loss per task type: short answers starve beside long ones.

Averaged per token, a task type learns in proportion to the tokens of its answers. A label of one
token beside answers of three hundred has a three-hundredth of the say.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from danlu.workshop.checks.check import (
    MIN_RECORDS,
    Finding,
    Report,
    Rule,
    Running,
    Verdict,
    setting,
)
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_type import percent, verdict_of
from danlu.workshop.checks.view import Head, View
from danlu.workshop.store.decision import Scalar


@dataclass(frozen=True, slots=True)
class LossShare:
    """Holds each task type's share of the loss against its share of the records.

    Counted in tokens where a tokenizer is given, with the weights of messages and
    ``sequences.weighting``; else in units.
    """

    name: ClassVar[str] = "loss_share"
    finds: ClassVar[str] = "task types whose answers are too short to be heard in the loss"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "starves",
            "attention",
            "the task type's share of the loss is a small part of its share of the records",
            "Repeat its records as told, or set sequences.weighting to record.",
            of="task_type",
            limit="least_ratio",
            source="practitioners' reports, 2023-2024: short answers starve per token",
        ),
    )

    least_ratio: float = setting(
        0.25, "Least ratio of its share of the loss to its share of the records."
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self, context)


def repeats_needed(own: float, total: float, wanted: float) -> float:
    """Return how often a task type must be repeated to have a wanted share of the loss.

    With f repeats its share is f own / (total - own + f own); solved for f.

    Args:
        own: Its loss now.
        total: Of all task types, itself too.
        wanted: Its share, less than 1.

    Example:
        >>> repeats_needed(1.0, 100.0, 0.5)
        99.0
    """
    return wanted * (total - own) / (own * (1 - wanted))


class _Sums:
    def __init__(self) -> None:
        self.records = 0
        self.loss = 0.0
        self.lengths = 0
        self.answers = 0


class _Run:
    def __init__(self, check: LossShare, context: Context) -> None:
        self._check = check
        self._weighting = context.sequences.weighting
        self._last_only = context.sequences.turns == "last"
        self._measure = "units" if context.tokenizer is None else "tokens"
        self._sums: defaultdict[str, _Sums] = defaultdict(_Sums)

    def look(self, view: View) -> tuple[int, int, float]:
        if view.lengths is not None:
            pairs = [(one.completion, one.weight) for one in view.lengths]
        else:
            turns = view.turns[-1:] if self._last_only else view.turns
            # One more for the stop token, which is learned too.
            pairs = [(len(turn.answer_units) + 1, turn.weight) for turn in turns]
        if not pairs:
            return 0, 0, 0.0
        lengths = sum(length for length, _ in pairs)
        if self._weighting == "record":
            loss = sum(weight for _, weight in pairs) / len(pairs)
        elif self._weighting == "turn":
            loss = sum(weight for _, weight in pairs)
        else:
            loss = sum(length * weight for length, weight in pairs)
        return len(pairs), lengths, loss

    def take(self, head: Head, seen: tuple[int, int, float]) -> Iterable[Finding]:
        answers, lengths, loss = seen
        sums = self._sums[head.task_type]
        sums.records += answers > 0
        sums.answers += answers
        sums.lengths += lengths
        sums.loss += loss
        return ()

    def finish(self) -> Report:
        return Report((), [self._verdict(*pair) for pair in self._sums.items()])

    def _verdict(self, task_type: str, sums: _Sums) -> Verdict:
        if not sums.records:
            return Verdict(task_type, self._check.name, "exempt")
        records = sum(one.records for one in self._sums.values())
        total = sum(one.loss for one in self._sums.values())
        figures: dict[str, Scalar] = {
            "records": sums.records,
            "records_share": sums.records / records,
            "loss_share": sums.loss / total if total else 0.0,
            f"{self._measure}_per_answer": sums.lengths / sums.answers,
            "measured_in": self._measure,
        }
        if len(self._sums) < 2 or self._weighting == "task_type":
            return verdict_of(self._check, task_type, figures, [])
        if sums.records < MIN_RECORDS:
            return Verdict(task_type, self._check.name, "too_few", {"records": sums.records})
        share, wanted = sums.loss / total, sums.records / records
        figures["ratio"] = share / wanted
        broken = []
        if share < self._check.least_ratio * wanted and sums.loss:
            repeats = repeats_needed(sums.loss, total, wanted)
            broken.append(("starves", _said(share, wanted, repeats)))
        return verdict_of(self._check, task_type, figures, broken)


def _said(share: float, wanted: float, repeats: float) -> str:
    half = wanted / 2
    halfway = repeats * (half / (1 - half)) / (wanted / (1 - wanted))
    return (
        f"It has {percent(wanted)} of the records and {percent(share)} of the loss. "
        f"{math.ceil(repeats):,} repeats would give it {percent(wanted)}, {math.ceil(halfway):,} "
        f"repeats {percent(half)}; weighting by record gives {percent(wanted)} without any."
    )
