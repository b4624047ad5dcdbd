"""The sign of a broken record: epoch after epoch the loss stands out in the batch that has it.

Each epoch is another order, so other records of such a batch are elsewhere the next time. In the
first epoch all losses are high, and it may go under.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from danlu.diagnosis.curves.curves import RunCurves, Series
from danlu.diagnosis.curves.gradient import usual
from danlu.diagnosis.curves.statistics import NORMAL_MAD
from danlu.runs.findings import Evidence, Finding, Remedy

RATIO = 1.7
"""A batch stands out from here on: so many times the loss of its task type around it."""
DEVIATIONS = 3.0
"""And so many robust deviations of the logarithm."""
NEIGHBOURS = 4
"""Rows on either side; the loss falls, so those far away say little."""
MOST_RECORDS = 5
"""If more records than this stand out, the task type is uneven, and none of them is broken."""


def hard_records(curves: RunCurves) -> Iterator[Finding]:
    """Find records with which the loss of their task type stands out epoch after epoch."""
    if curves.whole.complete < 2 or not curves.records_of(1):
        return
    for series in curves.types or [curves.whole]:
        found = _hard(curves, series)
        if 0 < len(found) <= MOST_RECORDS:
            yield _finding(series, found)


def _hard(curves: RunCurves, series: Series) -> dict[str, list[tuple[int, float]]]:
    """Return the records whose batches stand out again and again, with step and ratio of each."""
    if len(series) < 3 * MOST_RECORDS or series.values.min() <= 0:
        return {}
    logs = np.log(series.values)
    rest = logs - usual(logs, NEIGHBOURS)
    spread = float(np.median(np.abs(rest))) * NORMAL_MAD
    least = max(np.log(RATIO), DEVIATIONS * spread)
    places: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for step, above in zip(series.steps.tolist(), rest.tolist(), strict=True):
        if above > least and step <= series.complete * curves.steps_per_epoch:
            for record in curves.records_of(int(step)):
                places[record].append((int(step), float(np.exp(above))))
    least_times = max(2, series.complete - 1)
    return {record: seen for record, seen in places.items() if len(seen) >= least_times}


def _finding(series: Series, found: dict[str, list[tuple[int, float]]]) -> Finding:
    worst = max(found, key=lambda record: min(ratio for _, ratio in found[record]))
    steps = tuple(step for step, _ in found[worst])
    ratios = ", ".join(f"{ratio:.1f}" for _, ratio in found[worst])
    who = "One record is" if len(found) == 1 else f"{len(found)} records are"
    of = f" of {series.task_type}" if series.task_type else ""
    ids = "".join(f" --id {shlex.quote(record)}" for record in found)
    return Finding(
        name="hard-records",
        task_type=series.task_type,
        says=f"{who} far harder than the others{of}: epoch after epoch {series.named} stands "
        "out in the step that has it.",
        severity="warning",
        confidence="medium",
        evidence=(
            Evidence(
                says=f"With {worst} it is {ratios} times what it is around.",
                figures={"records": len(found), "epochs": series.complete},
                steps=steps,
                records=tuple(found),
            ),
        ),
        remedies=(
            Remedy(
                says="Read it: garbage, another language, a broken or a wrong answer look so. Take "
                "it out or mend it.",
                commands=(f"danlu data show DATA{ids}",),
            ),
        ),
    )
