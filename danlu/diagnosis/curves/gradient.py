"""Signs in the gradient: steps that pull far harder than their neighbours, and their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from danlu.diagnosis.curves.curves import RunCurves
from danlu.diagnosis.curves.statistics import NORMAL_MAD, Floats
from danlu.runs.findings import Evidence, Finding, Remedy

RATIO, SURE_RATIO = 4.0, 10.0
"""A spike is so many times the norm of its neighbourhood; at the second one it is sure."""
DEVIATIONS = 8.0
"""And so many robust deviations of the logarithm above it."""
NEIGHBOURS = 15
"""Steps on either side that say what is usual."""
FEW_STEPS = 15
SMALL = 0.3
"""A batch of less than this share of the usual tokens is not judged."""
MOST_STEPS = 20
"""Spikes that are told, the largest; more of them are a habit of the run."""


def spikes(curves: RunCurves) -> Iterator[Finding]:
    """Find steps whose gradient norm is many times that of the steps around them."""
    steps, norms = curves.gradient_steps, curves.gradient_norms
    if len(steps) < FEW_STEPS or norms.min() <= 0:
        return
    logs = np.log(norms)
    rest = logs - usual(logs)
    spread = max(float(np.median(np.abs(rest))) * NORMAL_MAD, 0.05)
    # The first steps of a run, before the optimizer has settled, pull hard in any case.
    early = steps <= max(2.0, 0.02 * float(steps[-1]))
    # The last batch of an epoch may be of a record or two, whose gradient is large by itself.
    tokens = dict(zip(curves.whole.steps.tolist(), curves.whole.weights.tolist(), strict=True))
    behind = np.array([tokens.get(step, 0.0) for step in steps.tolist()])
    small = behind < SMALL * np.median(behind)
    high = rest > np.maximum(np.log(RATIO), DEVIATIONS * spread)
    found = np.flatnonzero(high & ~early & ~small)
    if not len(found):
        return
    largest = found[np.argsort(-rest[found])][:MOST_STEPS]
    yield _finding(curves, [int(steps[one]) for one in largest], np.exp(rest[largest]), len(found))


def usual(values: Floats, neighbours: int = NEIGHBOURS) -> Floats:
    """Return the median of each value's neighbourhood, ``(N,)``; of all, where they are few.

    Args:
        values: ``(N,)``.
        neighbours: How many on either side.

    Example:
        >>> usual(np.array([3.0, 9.0, 2.0, 1.0]), neighbours=1).tolist()
        [9.0, 3.0, 2.0, 2.0]
    """
    if len(values) <= neighbours:
        return np.full(len(values), np.median(values))
    padded = np.pad(values, neighbours, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * neighbours + 1)
    medians: Floats = np.median(windows, axis=1)
    return medians


def _finding(curves: RunCurves, steps: list[int], ratios: Floats, count: int) -> Finding:
    records = {step: list(curves.records_of(step)) for step in steps}
    common = _common(list(records.values()))
    shown = ", ".join(
        f"{step} ({ratio:.0f} times)" for step, ratio in zip(steps, ratios, strict=True)
    )
    evidence = [
        Evidence(
            says=f"Gradient norm against the steps around it: step {shown}.",
            figures={"spikes": count, "largest": float(ratios[0])},
            steps=tuple(steps),
        )
    ]
    if common:
        seen = (
            f"{len(common)} of their records were in {len(steps)} of {len(steps)} of these steps."
        )
        evidence.append(Evidence(says=seen, records=tuple(common)))
    elif records[steps[0]]:
        seen = f"The records of step {steps[0]}; one of them pulls."
        evidence.append(Evidence(says=seen, records=tuple(records[steps[0]])))
    plural = "s" if count > 1 else ""
    sure = float(ratios[0]) >= SURE_RATIO or bool(common and len(steps) >= 3)
    return Finding(
        name="gradient-spikes",
        says=f"The gradient of {count} step{plural} is up to {ratios[0]:.0f} times that of its "
        "neighbours: single records pull the model about.",
        severity="warning",
        confidence="high" if sure else "medium",
        evidence=tuple(evidence),
        remedies=(
            Remedy(
                says="Read the records: garbage, another language, very long or broken answers "
                "pull so. Take them out, or clip harder (training.max_grad_norm).",
                commands=("danlu data show DATA",),
            ),
        ),
    )


def _common(batches: list[list[str]]) -> list[str]:
    """Return the records that all spikes share, if there are several spikes and few such records.

    Example:
        >>> _common([["a", "b"], ["b", "c"]]), _common([["a"]])
        (['b'], [])
    """
    if len(batches) < 2 or not all(batches):
        return []
    counts = Counter(record for batch in batches for record in set(batch))
    found = [record for record, count in counts.items() if count == len(batches)]
    return found if len(found) < min(len(batch) for batch in batches) else []
