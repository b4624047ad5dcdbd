"""May B replace A: per critical task type, on general abilities, and on plain text.

Each row of the gate asks one question: is the loss smaller than its margin? The interval of the
difference answers it, with yes, no, or too few prompts to say (``statistics.noninferiority``). All
rows must pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.compare import compare
from danlu.evaluation.compared import stakes_of
from danlu.evaluation.comparison import CompareSettings, Comparison, Node
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.rows import ScoredRow, Stakes
from danlu.evaluation.statistics import (
    ClusterSums,
    NonInferiority,
    bootstrap_interval,
    bootstrap_means,
    non_inferiority,
)

GENERAL_MARGIN = 0.05
"""Greatest loss on the general suite, as a share of its range."""
TEXT_MARGIN = 0.02
"""Greatest rise of cross-entropy on plain text, in bits per byte: about 2 % for a small model."""
ORDER = (NonInferiority.FAIL, NonInferiority.INCONCLUSIVE, NonInferiority.PASS)
"""The first of these that any row has is the gate's."""

Kind = Literal["task_type", "general", "text"]


@dataclass(frozen=True, slots=True)
class TextScores:
    """How well two versions predict the same documents.

    Attributes:
        bits_a: (D,) bits that A needs for each document.
        bits_b: (D,) that B needs.
        size_bytes: (D,) their sizes in UTF-8.
        source: Where the documents are from.
    """

    bits_a: Sequence[float]
    bits_b: Sequence[float]
    size_bytes: Sequence[int]
    source: str = "plain text"


@dataclass(frozen=True, slots=True)
class GateRow:
    """One question of the gate.

    Attributes:
        name: The task type; the general suite; where the plain text is from.
        kind: Which of the three.
        prompts: Or documents.
        a: Score of A; of plain text its cross-entropy in bits per byte, where less is better.
        b: Of B.
        difference: B - A.
        low: Lower end of its interval, with the confidence by which it passes.
        high: Upper end.
        fail_low: Lower end with the confidence by which it fails, corrected (Holm) for the rows.
        fail_high: Upper end of that.
        margin: Greatest loss that is allowed.
        unscored: Prompts left out, without a score on one side.
        outcome: Pass, fail or inconclusive.
    """

    name: str
    kind: Kind
    prompts: int
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    fail_low: float | None
    fail_high: float | None
    margin: float
    unscored: int
    outcome: NonInferiority


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate's answer.

    Attributes:
        outcome: Fail if any row fails, else inconclusive if any is, else pass.
        rows: One by one.
        confidence: Of the intervals by which rows pass.
        notes: What a reader must know beside.
    """

    outcome: NonInferiority
    rows: tuple[GateRow, ...]
    confidence: float
    notes: tuple[str, ...] = ()

    def headline(self) -> str:
        """Say the outcome in a sentence."""
        by = {state: [row.name for row in self.rows if row.outcome is state] for state in ORDER}
        if self.outcome is NonInferiority.PASS:
            return f"PASS: in all {len(self.rows)} the loss is below its margin."
        said = []
        if failed := by[NonInferiority.FAIL]:
            said.append(f"the loss exceeds its margin in {', '.join(failed)}")
        if unsure := by[NonInferiority.INCONCLUSIVE]:
            said.append(f"it may do so in {', '.join(unsure)}, too few prompts to say")
        return f"{self.outcome.value.upper()}: {'; '.join(said)}."

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {"headline": self.headline(), **asdict(self)}


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """What two versions got for the prompts of one suite.

    Attributes:
        suite: Its name.
        a: Scored rows of the version in use.
        b: Of the one that shall replace it.
        stakes: By task type.
    """

    suite: str
    a: Sequence[ScoredRow]
    b: Sequence[ScoredRow]
    stakes: Mapping[str, Stakes]

    @classmethod
    def read(cls, a: EvalDirectory, b: EvalDirectory) -> Self:
        """Read two evaluations of a suite.

        Raises:
            EvaluationError: If one has no scores.
        """
        rows = a.scored_rows(), b.scored_rows()
        return cls(b.evaluation().suite, *rows, stakes_of(b, rows))

    def with_margins(self, margins: Mapping[str, float], critical: Sequence[str]) -> Self:
        """Return it with other margins, and more critical task types.

        Raises:
            EvaluationError: If a task type is not there.
        """
        for name in [*critical, *margins]:
            if name and name not in self.stakes:
                raise EvaluationError(
                    f"no such task type.{did_you_mean(name, self.stakes)}", where=name
                )
        stakes = {
            name: replace(
                of,
                margin=margins.get(name, margins.get("", of.margin)),
                critical=of.critical or name in critical,
            )
            for name, of in self.stakes.items()
        }
        return replace(self, stakes=stakes)


def gate(
    pair: ScoredPair,
    *,
    general: ScoredPair | None = None,
    general_margin: float = GENERAL_MARGIN,
    text: TextScores | None = None,
    text_margin: float = TEXT_MARGIN,
    settings: CompareSettings | None = None,
) -> Gate:
    """Ask whether B may replace A.

    Args:
        pair: Of the suite; its critical task types are asked for, with their margins.
        general: Of the general suite, against forgetting.
        general_margin: For its mean over all task types.
        text: What both give plain text, against forgetting.
        text_margin: Greatest rise, in bits per byte.
        settings: Confidence, resamples, seed, and what to do with missing scores.

    Raises:
        EvaluationError: If there is nothing to ask, or scores cannot be compared.
    """
    settings = settings or CompareSettings()
    critical = {name for name, of in pair.stakes.items() if of.critical}
    if not critical and general is None and text is None:
        raise EvaluationError(
            "no task type is critical, so the gate has nothing to ask. Write `critical: true` in "
            f"the suite, or name them: --critical {min(pair.stakes)}, or --critical all."
        )
    questions = len(critical) + (general is not None) + (text is not None)
    once = _compared(pair, settings)
    wide = _compared(general, settings) if general is not None else None

    def asked(left: int) -> list[GateRow]:
        """Ask everything, where a failure is corrected for so many questions."""
        strict = replace(settings, confidence=1 - (1 - settings.confidence) / left)
        nodes = zip(once.task_types, _compared(pair, strict).task_types, strict=True)
        rows = [_row("task_type", *both) for both in nodes if both[0].name in critical]
        if general is not None and wide is not None:
            name = f"general: {general.suite}"
            whole = replace(wide.overall, name=name, margin=general_margin)
            rows.append(_row("general", whole, _compared(general, strict).overall))
        if text is not None:
            rows.append(_text(text, text_margin, settings, strict))
        return rows

    found = _holm(asked, questions)
    outcome = next(state for state in ORDER if any(row.outcome is state for row in found))
    return Gate(outcome, tuple(found), settings.confidence)


# Inner -----------------------------------------------------------------------------------


def _holm(asked: Callable[[int], list[GateRow]], questions: int) -> list[GateRow]:
    """Ask until no further row fails.

    All rows must pass, so each may be asked at the full level. Any one may fail, so that level is
    shared among them, and those that have failed leave their share to the others (Holm 1979).
    """
    left = questions
    while True:
        found = asked(left)
        others = sum(row.outcome is not NonInferiority.FAIL for row in found)
        if not 0 < others < left:
            return found
        left = others


def _compared(pair: ScoredPair, settings: CompareSettings) -> Comparison:
    return compare(pair.a, pair.b, stakes=pair.stakes, settings=settings)


def _row(kind: Kind, node: Node, strictly: Node) -> GateRow:
    return GateRow(
        name=node.name,
        kind=kind,
        prompts=node.prompts,
        a=node.a.score,
        b=node.b.score,
        difference=node.difference,
        low=node.low,
        high=node.high,
        fail_low=strictly.low,
        fail_high=strictly.high,
        margin=node.margin,
        unscored=node.missing_a + node.missing_b + node.only_a + node.only_b,
        outcome=_outcome(node.low, node.high, strictly.high, node.margin),
    )


def _outcome(
    low: float | None, high: float | None, strict_high: float | None, margin: float
) -> NonInferiority:
    """Pass by one interval, fail by the other; without intervals nothing can be said."""
    if low is None or high is None or strict_high is None:
        return NonInferiority.INCONCLUSIVE
    if non_inferiority(low, high, margin) is NonInferiority.PASS:
        return NonInferiority.PASS
    return NonInferiority.FAIL if strict_high < -margin else NonInferiority.INCONCLUSIVE


def _text(
    text: TextScores, margin: float, settings: CompareSettings, strictly: CompareSettings
) -> GateRow:
    """Resample documents: the rise of cross-entropy is a ratio, of bits over bytes."""
    bits = [np.asarray(side, dtype=np.float64) for side in (text.bits_a, text.bits_b)]
    sizes = np.asarray(text.size_bytes, dtype=np.float64)
    if len(sizes) < 2 or not (len(bits[0]) == len(bits[1]) == len(sizes)):
        raise EvaluationError(
            f"there are {len(sizes)} documents of plain text; it takes two or more, scored by "
            "both versions.",
            where=text.source,
        )
    if not all(math.isfinite(value) for side in bits for value in side):
        raise EvaluationError("a document has no finite probability.", where=text.source)
    rise = ClusterSums(bits[1] - bits[0], sizes)
    rng = np.random.default_rng([settings.seed, len(sizes)])
    means = bootstrap_means(rise, settings.resamples, rng)
    low, high = bootstrap_interval(means, rise, confidence=settings.confidence)
    strict = bootstrap_interval(means, rise, confidence=strictly.confidence)
    a, b = (float(side.sum() / sizes.sum()) for side in bits)
    return GateRow(
        name=text.source,
        kind="text",
        prompts=len(sizes),
        a=a,
        b=b,
        difference=b - a,
        low=float(low),
        high=float(high),
        fail_low=float(strict.low),
        fail_high=float(strict.high),
        margin=margin,
        unscored=0,
        # Less is better: what is lost is the rise.
        outcome=_outcome(-float(high), -float(low), -float(strict.low), margin),
    )
