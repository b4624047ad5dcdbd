"""The signs that are looked for, in one list: each a function from curves to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from danlu.diagnosis.curves.curves import RunCurves
from danlu.diagnosis.curves.epochs import epoch_steps
from danlu.diagnosis.curves.gradient import spikes
from danlu.diagnosis.curves.heldout import held_out, worse_inside
from danlu.diagnosis.curves.levels import initial_loss, near_zero, stands_still
from danlu.diagnosis.curves.motion import rises, swings
from danlu.diagnosis.curves.outliers import hard_records
from danlu.diagnosis.curves.shares import starved, stop_tokens
from danlu.runs.findings import Finding, worst_first

Detector = Callable[[RunCurves], Iterator[Finding]]

DETECTORS: Sequence[Detector] = (
    initial_loss,
    rises,
    stands_still,
    swings,
    held_out,
    worse_inside,
    near_zero,
    spikes,
    hard_records,
    stop_tokens,
    starved,
    epoch_steps,
)
"""Of two findings that are as bad and as sure, the one whose sign stands first here is told first:
what spoils a run before what follows from it."""


def findings(curves: RunCurves, detectors: Sequence[Detector] = DETECTORS) -> list[Finding]:
    """Look for every sign.

    Returns:
        Worst first.
    """
    return worst_first([found for detector in detectors for found in detector(curves)])
