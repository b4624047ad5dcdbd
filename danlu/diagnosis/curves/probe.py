"""Asks the curves of a run: reads its directory, and looks for every sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from danlu.diagnosis.commands import first_source, told
from danlu.diagnosis.curves.curves import RunCurves
from danlu.diagnosis.curves.detectors import findings
from danlu.diagnosis.probe import CannotLookError, Examined, Seen
from danlu.errors import DanluError
from danlu.runs import History, RunDirectory

if TYPE_CHECKING:
    from danlu.sequences.prepared import PreparedData
    from danlu.training.order import RecordOrder

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
        found = findings(read_curves(examined.run))
        return Seen(told(found, str(examined.run.path), first_source(examined.run.resolved())))


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
        records_of=records_of(run),
    )


def records_of(run: RunDirectory) -> Callable[[int], Sequence[str]]:
    """Return who knows the records of a step: their order follows from the seed alone.

    Nothing is read before it is asked; of a run of an earlier version, or one whose prepared data
    is gone, it knows none.
    """

    @cache
    def known() -> tuple[PreparedData, RecordOrder] | None:
        prepared = run.path / "prepared" / "train"
        if not run.recipe_path.is_file() or not prepared.is_dir():
            return None
        from danlu.config import load_recipe
        from danlu.sequences.prepared import PreparedData
        from danlu.training.mixing import record_order

        try:
            data = PreparedData.load(prepared)
            return data, record_order(load_recipe(run.recipe_path), data)
        except DanluError:
            return None

    def records(step: int) -> Sequence[str]:
        found = known()
        if found is None:
            return ()
        data, order = found
        return [data.record_ids[int(one)] for one in order.step(step - 1)]

    return records
