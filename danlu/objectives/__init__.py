"""What is minimised: one file per objective.

An objective is a frozen config with its paper and equation, and one function from scored
predictions to a loss and sums per channel. It never sees padding, masks or devices. Adding one is
one file, its test, and one line in ``OBJECTIVES``.
"""

from danlu.objectives.nll import Nll
from danlu.objectives.predictions import ChannelSums, Predictions

OBJECTIVES = {"nll": Nll}
"""Every objective by the name that recipes use."""

__all__ = ["OBJECTIVES", "ChannelSums", "Nll", "Predictions"]
