"""The sign of memorising: the loss drops in steps where the same records come again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from danlu.diagnosis.curves.curves import RunCurves, Series
from danlu.diagnosis.curves.statistics import mean, noise
from danlu.runs.findings import Evidence, Finding, Remedy
from danlu.runs.wording import loss

LEAST_DEPTH = 0.08
"""Steps less deep than this share of the level before them are not told."""
DEEP = 0.25
LEAST_ROWS = 4
"""Rows in half an epoch; with fewer, a step cannot be told from a slope."""


class _Step(NamedTuple):
    """A drop at the end of an epoch: its step, its depth, the level before, and its error."""

    step: int
    depth: float
    level: float
    error: float


def epoch_steps(curves: RunCurves) -> Iterator[Finding]:
    """Find drops at epoch borders, and say how deep they are per task type."""
    whole = _steps(curves.steadied)
    if not whole or _z(whole) < curves.limit():
        return
    depth = _depth(whole)
    if depth < LEAST_DEPTH:
        return
    types = [(one.task_type or "", _steps(one)) for one in curves.types]
    told = sorted(
        ((_depth(steps), name) for name, steps in types if steps and _z(steps) > 2.5), reverse=True
    )
    borders = "; ".join(
        f"after step {one.step}: {loss(one.level)} down by {one.depth:.2f}" for one in whole
    )
    evidence = [
        Evidence(
            says=f"Beyond the slope on either side, {borders}.",
            figures={"depth": depth, "z": _z(whole)},
            steps=tuple(one.step for one in whole),
        )
    ]
    if told:
        parts = ", ".join(f"{name} {share:.0%}" for share, name in told)
        figures = {name: share for share, name in told}
        evidence.append(Evidence(says=f"By task type, of the level: {parts}.", figures={**figures}))
    yield Finding(
        name="memorises-by-epoch",
        says=f"The loss drops by {depth:.0%} of its level where an epoch ends: records are "
        "recognised when they come again. Of a format that is wanted, of contents it is not.",
        severity="warning" if depth >= DEEP else "note",
        confidence="medium",
        evidence=tuple(evidence),
        remedies=(
            Remedy(
                says="Train fewer epochs, or add variety to the task types with the deepest steps; "
                "the loss on held-out records says whether it harms.",
            ),
        ),
    )


def _steps(series: Series) -> list[_Step]:
    """Measure each border: the drop across it, less what the slopes on either side explain.

    With the means h1, h2 of the halves of an epoch and h3, h4 of the next one's, the drop is
    (h2 - h3) - (h1 - h2) / 2 - (h3 - h4) / 2. On a convex falling curve without steps it is below
    0, so a slope that flattens is never taken for a step.
    """
    found = []
    for epoch in range(series.complete - 1):
        halves = [half for one in (epoch, epoch + 1) for half in _halves(series, one)]
        if len(halves) != 4 or min(len(values) for values, _ in halves) < LEAST_ROWS:
            return []
        h1, h2, h3, h4 = (mean(values, weights) for values, weights in halves)
        depth = (h2 - h3) - (h1 - h2) / 2 - (h3 - h4) / 2
        rows = min(len(values) for values, _ in halves)
        spread = noise(series.values, series.weights)
        last = int(series.steps[series.epochs == epoch][-1])
        found.append(_Step(last, depth, h2, spread * math.sqrt(5 / rows)))
    return found


def _halves(series: Series, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = np.flatnonzero(series.epochs == epoch)
    if not len(rows):
        return []
    middle = len(rows) // 2
    return [(series.values[part], series.weights[part]) for part in (rows[:middle], rows[-middle:])]


def _z(steps: list[_Step]) -> float:
    """Say how sure all borders together are, in standard deviations."""
    error = math.sqrt(sum(one.error**2 for one in steps))
    return sum(one.depth for one in steps) / error if error else 0.0


def _depth(steps: list[_Step]) -> float:
    """Return the mean depth as a share of the level before it."""
    return float(np.mean([one.depth / max(one.level, 1e-9) for one in steps]))
