"""The curves probe: what the loss curves of a run say, in all and per task type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from danlu.diagnosis.probe import CannotLookError, Examined, Seen
from danlu.runs import History


@dataclass(frozen=True)
class Curves:
    """Reads ``metrics.jsonl``; no model is asked."""

    name: ClassVar[str] = "curves"

    def look(self, examined: Examined) -> Seen:
        """Look at the curves of a run in any state.

        Raises:
            CannotLookError: If no step was logged yet.
        """
        history = History.of(examined.run.metrics())
        if not history.overall["train"].steps:
            raise CannotLookError("no training step was logged yet")
        return Seen()
