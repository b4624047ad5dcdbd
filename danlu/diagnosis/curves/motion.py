"""Signs that are read off how a loss moves: it rises, it swings, one task type pays for another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from danlu.diagnosis.curves.curves import START_RECORDS, RunCurves, Series
from danlu.diagnosis.curves.statistics import falling_fit, mean, noise, serial_z, trend, turns
from danlu.runs.findings import Evidence, Finding, Remedy
from danlu.runs.wording import loss

LEAST_RISE = 0.1
"""A rise by less than this share of the level is not worth a word."""
LEAST_SWING = 0.12
"""The same of swings up and down."""
WINDOWS = (0.0, 0.5, 2 / 3)
"""A rise is looked for from here to the end of the run, as shares of its rows."""
FEW_ROWS = 12
RECORDS_OF_A_TYPE = 20
"""A task type of fewer records, repeats and all, is not called by name with high confidence."""


class Rise(NamedTuple):
    """A rise: since which step, by which share of the level, and on what evidence."""

    since: int
    share: float
    sure: bool
    seen: str
    figures: dict[str, float | int | str | bool | None]


def rises(curves: RunCurves) -> Iterator[Finding]:
    """Find a training loss that rises: in all, or of a task type while the whole falls."""
    whole = rise_of(curves, curves.steadied)
    if whole is not None:
        yield _whole_rises(curves, whole)
        return
    for one in curves.types:
        others = [other for other in curves.types if other is not one]
        better = max((other.start - other.end) / max(other.start, 1e-9) for other in others)
        rise = rise_of(curves, one)
        if rise is not None and better >= LEAST_RISE / 2:
            yield _type_suffers(curves, one, rise)


def rise_of(curves: RunCurves, series: Series) -> Rise | None:
    """Look for a rise: between epochs over the same records, along a window, or from the start.

    Returns:
        The surest, then the largest that was found.
    """
    found = (
        _by_epochs(series),
        _along(curves, series),
        _since_start(curves, series),
        _held_out_too(curves, series),
    )
    found_ones = [one for one in found if one is not None]
    return max(found_ones, key=lambda one: (one.sure, one.share), default=None)


def _by_epochs(series: Series) -> Rise | None:
    """Compare epochs' means, which are over the same records and so without chance."""
    means = series.epoch_means
    if not series.exact or len(means) < 2:
        return None
    best = int(means[:-1].argmin())
    share = float(means[-1] - means[best]) / max(float(means[best]), 1e-9)
    if share < LEAST_RISE / 2 or means[-1] - means[best] < 0.02:
        return None
    since = int(series.steps[series.epochs == best][-1])
    seen = f"The mean over the same records was {loss(means[best])} in epoch {best + 1} and "
    seen += f"{loss(means[-1])} in epoch {len(means)}."
    figures = {"before": float(means[best]), "after": float(means[-1]), "epoch": best + 1}
    sure = share >= LEAST_RISE and series.records.sum() >= RECORDS_OF_A_TYPE
    return Rise(since, share, sure, seen, {**figures})


def _along(curves: RunCurves, series: Series) -> Rise | None:
    """Test the last rows for a trend upward."""
    blocks = series.blocked()
    best: Rise | None = None
    for begin in (int(len(blocks) * share) for share in WINDOWS):
        values = blocks.values[begin:]
        if len(values) < FEW_ROWS:
            continue
        z, rise = trend(values)
        level = float(np.median(values)) - rise / 2
        share = rise / max(level, 1e-9)
        if z > curves.limit(len(WINDOWS)) and share >= LEAST_RISE and rise >= 0.02:
            since = int(blocks.steps[begin])
            seen = f"From step {since} to step {int(blocks.steps[-1])} it rises by {rise:.3f}, "
            seen += f"from about {loss(level)} (trend of {len(values)} points, z = {z:.1f})."
            figures = {"z": z, "rise": rise, "level": level}
            if best is None or share > best.share:
                best = Rise(since, share, True, seen, {**figures})
    return best


def _since_start(curves: RunCurves, series: Series) -> Rise | None:
    """Hold the last third against the first rows, in units of the noise of one row."""
    third = len(series) // 3
    if third < 3:
        return None
    rows = series.start_rows
    spread = noise(series.values[rows:], series.weights[rows:])
    typical = float(np.median(series.weights)) / max(float(series.weights[:rows].mean()), 1e-9)
    error = spread * math.sqrt(max(1.0, typical) / rows + 1 / third)
    last = mean(series.values[-third:], series.weights[-third:])
    rise = last - series.start
    share = rise / max(series.start, 1e-9)
    # One row's noise has heavy tails; a factor of two covers what the normal law does not.
    times = rise / (curves.limit() * error) if error else 0.0
    if times < 1 or share < 2 * LEAST_RISE:
        return None
    seen = f"It began at {loss(series.start)} and is {loss(last)} over the last third of the steps."
    figures = {"start": series.start, "end": last}
    sure = times >= 2 and series.records[:rows].sum() >= START_RECORDS
    return Rise(int(series.steps[0]), share, bool(sure), seen, {**figures})


def _held_out_too(curves: RunCurves, series: Series) -> Rise | None:
    """Hold the last evaluation against that before the first step: the same records, no chance.

    A rise there alone is a want of generality; with training loss that did not fall, it is worse.
    """
    outside = curves.eval.get(series.task_type)
    if outside is None or outside.steps[0] != 0 or len(outside) < 2:
        return None
    first, last = float(outside.values[0]), float(outside.values[-1])
    share = (last - first) / max(first, 1e-9)
    if share < LEAST_RISE or series.end < series.start * (1 + LEAST_RISE / 2):
        return None
    seen = f"On {int(outside.records[-1])} held-out records it was {loss(first)} before training "
    seen += f"and is {loss(last)}; in training it began at {loss(series.start)} and ends at "
    seen += f"{loss(series.end)}."
    sure = share >= 2 * LEAST_RISE and outside.records[-1] >= RECORDS_OF_A_TYPE
    return Rise(0, share, bool(sure), seen, {"start": first, "end": last})


def _whole_rises(curves: RunCurves, rise: Rise) -> Finding:
    rate = curves.learning_rate
    types = [one.task_type or "" for one in curves.types if rise_of(curves, one) is not None]
    evidence = [Evidence(says=rise.seen, figures=rise.figures, steps=(rise.since,))]
    if types:
        evidence.append(Evidence(says=f"Task types whose own loss rises: {', '.join(types)}."))
    at = f" from {rate:g}" if rate else ""
    return Finding(
        name="loss-rises",
        says=f"The training loss rises, by {rise.share:.0%}: the model is getting worse at what it "
        "is trained on. Hard data does not do that; even random text would stay level.",
        severity="serious",
        confidence="high" if rise.sure else "medium",
        evidence=tuple(evidence),
        remedies=(
            Remedy(
                says=f"Lower the learning rate ten times{at}. If the loss still rises, the fault "
                "is in the training: code, labels, or the order of the data.",
                settings={"training.learning_rate": rate / 10} if rate else {},
            ),
        ),
    )


def _type_suffers(curves: RunCurves, series: Series, rise: Rise) -> Finding:
    better = [
        (one.start - one.end, one.task_type or "") for one in curves.types if one is not series
    ]
    fall, best = max(better)
    many = series.records.sum() >= RECORDS_OF_A_TYPE
    evidence = (
        Evidence(says=rise.seen, figures=rise.figures, steps=(rise.since,)),
        Evidence(
            says=f"Meanwhile {best} fell by {fall:.2f}, and the loss in all from "
            f"{loss(curves.whole.start)} to {loss(curves.whole.end)}.",
            figures={"other": best, "fall": fall},
        ),
    )
    return Finding(
        name="interference",
        task_type=series.task_type,
        says=f"{series.task_type} gets worse, by {rise.share:.0%}, while others improve: what they "
        "teach contradicts it, or it has too little weight.",
        severity="warning",
        confidence="high" if rise.sure and many else "medium",
        evidence=evidence,
        remedies=(
            Remedy(
                says="Give it more records or more weight, or look for contradictions between "
                f"it and {best}.",
                commands=("danlu data check DATA",),
            ),
            Remedy(says="Or train two models."),
        ),
    )


def swings(curves: RunCurves) -> Iterator[Finding]:
    """Find a loss that goes up and down by more than the noise of its batches."""
    series = curves.steadied.blocked()
    if len(series) < 3 * FEW_ROWS or rise_of(curves, curves.steadied) is not None:
        return
    fit = falling_fit(series.values, np.maximum(series.weights, 1e-9))
    rest = series.values - fit
    z, level = serial_z(rest), float(np.median(series.values))
    swing = LEAST_SWING * level
    count = turns(rest, np.maximum(series.weights, 1e-9), swing)
    if z < curves.limit() or count < 2:
        return
    rate = curves.learning_rate
    figures = {"z": z, "swings": count, "level": level, "learning_rate": rate}
    yield Finding(
        name="oscillates",
        says=f"The training loss swings: {count} times it turns by more than {swing:.2f} around a "
        f"level of {loss(level)}, which the noise of the batches does not explain.",
        severity="warning",
        confidence="high",
        evidence=(
            Evidence(
                says=f"What is left over a falling curve is alike from row to row (z = {z:.1f}).",
                figures={**figures},
                steps=(int(series.steps[0]), int(series.steps[-1])),
            ),
        ),
        remedies=(
            Remedy(
                says="Lower the learning rate ten times, or make the batches larger.",
                settings={"training.learning_rate": rate / 10} if rate else {},
            ),
        ),
    )
