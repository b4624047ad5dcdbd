"""Signs that are read off a loss's height: at the start, at the end, and where it does not move."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from danlu.diagnosis.curves.curves import START_RECORDS, RunCurves, Series
from danlu.diagnosis.curves.motion import rise_of
from danlu.diagnosis.curves.statistics import mean, noise
from danlu.runs.findings import Confidence, Evidence, Finding, Remedy, Severity
from danlu.runs.wording import loss

ABSURD = 6.5
"""Nats per token at the start: as unsure as among 665 equally likely tokens. A pretrained model is
far below that on any text it was made for; shifted labels and a foreign template reach it."""
ABOVE_EXPECTED = 2.5
"""So many nats above what a model of this size has on plain text is unusual at the start."""
LABEL_TOKENS = 5
"""Tokens per record; of shorter answers, labels, no model knows which words are meant."""
NEAR_ZERO = 0.1
"""Nats per token: 90 % of the probability on the one trained token, on average."""
STILL = 0.02
"""A loss that falls by less than this share between epochs, over the same records, stands still."""
MOST_FALL = 0.1
"""A loss stands still where even a fall by this share can be excluded."""
FEW_ROWS = 20


def expected_loss(parameters: int) -> float:
    """Return the loss on plain text of a model of this size, in nats per token.

    Hoffmann et al. 2022, equation 10, for 2e12 tokens; it is 2.5 for 0.1B, 2.0 for 7B and 1.9 for
    70B, which practitioners see too at the start of a run on general data.

    Example:
        >>> [round(expected_loss(n), 1) for n in (135_000_000, 7 * 10**9, 70 * 10**9)]
        [2.5, 2.0, 1.9]
    """
    return 1.69 + 406.4 / math.pow(parameters, 0.34) + 410.7 / math.pow(2e12, 0.28)


def initial_loss(curves: RunCurves) -> Iterator[Finding]:
    """Find a loss at the start that no pretrained model has on answers it can read."""
    if not curves.of_tokens:
        return
    whole = _at_start(curves, None)
    few = not curves.finished and float(curves.whole.records[:3].sum()) < START_RECORDS
    usual = expected_loss(curves.parameters or 1_000_000_000)
    if whole >= ABSURD and not few:
        yield _too_high(curves, None, whole, usual, "serious", "high")
        return
    if whole >= usual + ABOVE_EXPECTED:
        yield _too_high(curves, None, whole, usual, "warning", "low")
    for one in curves.types:
        level = _at_start(curves, one.task_type)
        long = one.weights.sum() >= LABEL_TOKENS * one.records.sum()
        if level >= ABSURD and long and one.weights[:3].sum() >= 20:
            yield _too_high(curves, one.task_type, level, usual, "warning", "medium")


def _at_start(curves: RunCurves, name: str | None) -> float:
    """Return the loss before the first step: of the evaluation if it has a row of step 0."""
    held_out = curves.eval.get(name)
    if held_out is not None and held_out.steps[0] == 0:
        return min(float(held_out.values[0]), curves.train[name].start)
    return curves.train[name].start


def _too_high(
    curves: RunCurves,
    name: str | None,
    level: float,
    usual: float,
    severity: Severity,
    confidence: Confidence,
) -> Finding:
    series = curves.train[name]
    of = f" of {name}" if name else ""
    says = (
        f"Before anything was learned the loss{of} was {level:.2f} nats per token; a model of this "
        f"size has about {usual:.1f} on plain text."
    )
    even = math.exp(min(level, 30))
    evidence = Evidence(
        says=f"It was as unsure as among {even:,.0f} equally likely tokens; "
        f"{'at the end' if curves.finished else 'so far'} the loss is {loss(series.end)}.",
        figures={"start": level, "usual": usual, "end": series.end},
        steps=(int(series.steps[0]),),
    )
    remedies = (
        Remedy(
            says="Look at what is predicted from what: labels that are shifted, a template that is "
            "not the model's, or text in another encoding look like this. If it is right, the "
            "data is foreign to this model: take another base model.",
            commands=("danlu explain DATA --limit 3",),
        ),
    )
    return Finding(
        name="initial-loss-high",
        task_type=name,
        says=says,
        severity=severity,
        confidence=confidence,
        evidence=(evidence,),
        remedies=remedies,
    )


def near_zero(curves: RunCurves) -> Iterator[Finding]:
    """Find a final loss so low that nothing else has probability left."""
    if not curves.of_tokens or not curves.finished:
        return
    low = [one for one in (curves.whole, *curves.types) if one.end < NEAR_ZERO and len(one) >= 3]
    if curves.whole in low:
        low = [curves.whole]
    for one in low:
        held_out = curves.eval.get(one.task_type)
        left = float(held_out.values[-1]) if held_out is not None else None
        if left is not None and left < max(2 * NEAR_ZERO, 3 * one.end):
            continue  # held-out answers are as sure: the task has one right answer
        yield _near_zero(one, left, int(held_out.records[-1]) if held_out is not None else 0)


def _near_zero(series: Series, left: float | None, records: int) -> Finding:
    sure = math.exp(-series.end)
    says = (
        f"At the end {series.named} is {loss(series.end)}: a trained token has {sure:.0%} of the "
        "probability on average, and nothing else has any left."
    )
    figures: dict[str, float | int | str | bool | None] = {"end": series.end, "start": series.start}
    seen = f"It fell from {loss(series.start)} to {loss(series.end)}."
    if left is not None:
        figures |= {"eval": left, "eval_records": records}
        seen += f" On {records} held-out records it is {loss(left)}."
    else:
        seen += " There are no held-out records to say whether that is more than memory."
    sure_of_it = left is not None and left > 0.3 and left > 5 * series.end and records >= 20
    return Finding(
        name="loss-near-zero",
        task_type=series.task_type,
        says=says,
        severity="note" if left is None else "warning",
        confidence="high" if sure_of_it else "medium" if left is not None else "low",
        evidence=(Evidence(says=seen, figures=figures, steps=(int(series.steps[-1]),)),),
        remedies=(
            Remedy(
                says="Train fewer epochs, or on more and more varied records; hold some out "
                "(data.eval_share), so that the best step is kept.",
                settings={"data.eval_share": 0.05} if left is None else {},
            ),
        ),
    )


def stands_still(curves: RunCurves) -> Iterator[Finding]:
    """Find a loss that has not moved: of the whole run, or of a task type whose others fall."""
    if not curves.finished:
        return
    still = _still(curves, curves.steadied)
    if still is not None:
        yield still
        return
    for one in curves.types:
        if (found := _still(curves, one)) is not None:
            yield found


def _still(curves: RunCurves, series: Series) -> Finding | None:
    """Bound how far a loss may have fallen, by its epochs' means or by its first and last third."""
    if len(series) < FEW_ROWS or series.end < 5 * NEAR_ZERO:
        return None
    means = series.epoch_means
    third = len(series) // 3
    first, middle, last = (
        mean(series.values[part], series.weights[part])
        for part in (slice(0, third), slice(third, -third), slice(-third, None))
    )
    error = noise(series.values, series.weights) * math.sqrt(2 / third)
    fall, most = (first - last) / first, (first - last + 3 * error) / first
    figures = {"start": series.start, "end": series.end, "fall": fall, "most_fall": most}
    if fall < -MOST_FALL or rise_of(curves, series) is not None:
        return None  # another sign says so
    if series.exact and len(means) >= 2:
        fall = float(means[0] - means[-1]) / float(means[0])
        figures["fall"] = fall
        # Of a loss that fell and rose again, the first and the last epoch may be alike.
        if float(np.ptp(means)) / float(means[0]) >= STILL * (len(means) - 1):
            return None
        seen = f"The mean over the same records was {loss(means[0])} in the first epoch and "
        seen += f"{loss(means[-1])} in epoch {len(means)}: a fall by {fall:.1%}."
    elif most < MOST_FALL and abs(middle - first) < MOST_FALL * first:
        seen = f"It was {loss(first)} over the first third of the steps and {loss(last)} over the "
        seen += f"last; its noise allows for a fall by {most:.0%} at the most."
    else:
        return None
    rate = curves.learning_rate
    whole = series.task_type is None
    remedy = "Raise the learning rate ten times." if whole else "Give it more records or weight."
    return Finding(
        name="hardly-learns",
        task_type=series.task_type,
        says=f"{series.named[0].upper()}{series.named[1:]} has hardly moved: nothing was learned.",
        severity="serious" if whole else "warning",
        confidence="high" if whole else "medium",
        evidence=(Evidence(says=seen, figures={**figures}, steps=(int(series.steps[-1]),)),),
        remedies=(
            Remedy(
                says=f"{remedy} If that does not move it either, the answers may not follow from "
                "the prompts: read some records.",
                settings={"training.learning_rate": 10 * rate} if whole and rate else {},
            ),
        ),
    )
