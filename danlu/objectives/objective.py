"""What every objective is: a frozen config and functions from predictions to sums.

Shapes: K channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from danlu.objectives.predictions import ChannelSums, Predictions
from danlu.sequences.branch import Branch

Floats = NDArray[np.float64]

Reads = Literal["turns", "compared", "judged", "prompts", "classes"]
"""What an objective takes of a record: its turns, its responses (see ``sequences.answers``), only
what comes before an answer, which the policy samples, or its classes (``sequences.labels``)."""


class Objective(Protocol):
    """Makes a loss, and numbers per channel, of scored predictions.

    Attributes:
        reads: What it takes of a record.
        needs_reference: Whether it reads the log-probabilities of a reference model.
        needs_baseline: Whether it reads a baseline over mismatched completions (``kto``).
        readout: How many numbers it reads off a branch by a readout head; 0 for none.
        whole_records: Whether all branches of a record must be in one pack.
    """

    reads: ClassVar[Reads]
    needs_baseline: ClassVar[bool]
    whole_records: ClassVar[bool]

    @property
    def needs_reference(self) -> bool:
        """Whether it reads the log-probabilities of a reference model."""

    @property
    def readout(self) -> int:
        """How many numbers it reads off a branch by a readout head."""

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return by what a step's loss is divided, known before anything is computed."""

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack: sums, not means, so that accumulation changes no result."""

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Make the numbers that are reported from totals over steps and processes.

        Args:
            totals: ``(K,)`` per channel, or ``()`` over all channels; with an axis of classes
                behind it where there is one.

        Returns:
            ``(K,)`` or ``()`` each, with ``loss`` among them; NaN where there was nothing to
            divide by.
        """


def ratio(totals: Mapping[str, Floats], numerator: str, denominator: str) -> Floats:
    """Divide one total by another; NaN where the other is 0.

    Example:
        >>> totals = {"loss": np.array([3.0, 0.0]), "records": np.array([2.0, 0.0])}
        >>> ratio(totals, "loss", "records")
        array([1.5, nan])
    """
    top, bottom = (np.asarray(totals[name], np.float64) for name in (numerator, denominator))
    divided: Floats = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom != 0)
    return divided
