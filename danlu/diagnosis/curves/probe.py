"""Asks the curves of a run: reads its directory, and looks for every sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from danlu.diagnosis.curves.curves import RunCurves
from danlu.diagnosis.curves.detectors import findings
from danlu.diagnosis.probe import CannotLookError, Examined, Seen
from danlu.errors import DanluError
from danlu.runs import History, RunDirectory

WITHOUT_MEANING = ("ppo", "grpo")
"""Their loss belongs to one update of the policy, and says nothing of what was learned so far."""


@dataclass(frozen=True)
class Curves:
    """Reads ``metrics.jsonl``, the settings and the order of the records; no model is asked."""

    name: ClassVar[str] = "curves"

    def look(self, examined: Examined) -> Seen:
        """Look at the curves of a run in any state.

        Raises:
            CannotLookError: If no step was logged yet, or the loss says nothing.
            RunError: If a file of the run is broken.
        """
        return Seen(tuple(findings(read_curves(examined.run))))


def read_curves(run: RunDirectory) -> RunCurves:
    """Read the curves of a run.

    Raises:
        CannotLookError: If no step was logged yet, or the loss says nothing.
    """
    history = History.of(run.metrics())
    resolved, summary = run.resolved(), run.summary()
    objective = resolved.objective if resolved else "nll"
    if objective in WITHOUT_MEANING:
        raise CannotLookError(f"the loss of {objective} does not say what is learned")
    if not history.overall["train"].steps:
        raise CannotLookError("no training step was logged yet")
    return RunCurves.of(
        history,
        resolved.recipe if resolved else {},
        finished=run.state() == "finished",
        parameters=summary.total_parameters if summary else None,
        records_of=_records_of(run),
    )


def _records_of(run: RunDirectory) -> Callable[[int], Sequence[str]]:
    """Return who knows the records of a step: their order follows from the seed alone."""

    def none(step: int) -> Sequence[str]:
        return ()

    resolved, prepared = run.resolved(), run.path / "prepared" / "train"
    if resolved is None or not prepared.is_dir():
        return none
    from danlu.config import Recipe
    from danlu.sequences.prepared import PreparedData
    from danlu.training.mixing import record_order

    try:
        data = PreparedData.load(prepared)
        order = record_order(Recipe.model_validate(resolved.recipe), data)
    except (DanluError, ValueError):
        return none  # of an earlier version, or mixed by source: the step is told without them

    def records(step: int) -> Sequence[str]:
        return [data.record_ids[int(one)] for one in order.step(step - 1)]

    return records
