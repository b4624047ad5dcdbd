"""What is varied: the task's share of the mix, the learning rate, or the epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from danlu.errors import RecipeError, did_you_mean

Over = Literal["share", "learning_rate", "epochs"]
OVERS: tuple[Over, ...] = ("share", "learning_rate", "epochs")

TEN_EPOCHS = 10.0
"""After so many passes over the target data alone, what can be learned is learned; practitioners'
reports, 2023-2024."""
GENTLER, STRONGER = 32.0, 8.0
"""Learning rates are tried from the recipe's divided by the one to it times the other: from where
little moves in so many steps to where most recipes break."""


def over_named(name: str) -> Over:
    """Read what is to be varied.

    Raises:
        RecipeError: If it is none of the three.
    """
    if name not in OVERS:
        raise RecipeError(
            f"{name!r} cannot be varied.{did_you_mean(name, OVERS)} Choose {', '.join(OVERS)}.",
            where="--over",
        )
    return name


@dataclass(frozen=True)
class Knob:
    """A setting with the range in which it is tried. With more of it the task is learned better.

    Attributes:
        over: What it is.
        low: At this and below, nothing of the task is learned; never trained.
        high: The most that is tried.
        own: What the recipe has; tried first where it lies in the range.
        resolution: Settings nearer to each other than this are not told apart: a difference, or a
            ratio where ``is_ratio``.

    Raises:
        RecipeError: If the range is empty or out of bounds.
    """

    over: Over
    low: float
    high: float
    own: float
    resolution: float

    def __post_init__(self) -> None:
        least = 0.0 if self.over != "learning_rate" else math.ulp(0.0)
        most = 1.0 if self.over == "share" else math.inf
        if not least <= self.low < self.high <= most:
            raise RecipeError(
                f"{self.over} cannot be tried from {self.low:g} to {self.high:g}: the range must "
                f"be rising and between 0 and {'1' if most == 1 else 'any number'}"
                f"{', above 0' if self.is_ratio else ''}.",
                where="--low, --high",
            )

    @property
    def is_ratio(self) -> bool:
        """Whether equal ratios, not differences, are equally far apart."""
        return self.over == "learning_rate"

    def gap(self, low: float, high: float) -> float:
        """Return how far apart two settings are, in steps of the resolution."""
        if self.is_ratio:
            return math.log(high / low) / math.log(self.resolution)
        return (high - low) / self.resolution

    def middle(self, low: float, high: float) -> float | None:
        """Return the setting between two, rounded; None if they are too near to each other.

        Example:
            >>> Knob("share", 0, 1, 0.5, 0.05).middle(0.25, 0.5)
            0.375
            >>> Knob("learning_rate", 1e-5, 1e-3, 1e-4, 1.25).middle(1e-4, 4e-4)
            0.0002
            >>> Knob("epochs", 0, 10, 3, 0.5).middle(2.5, 3)
        """
        if self.gap(low, high) <= 1 + 1e-9:
            return None
        return self.rounded(math.sqrt(low * high) if self.is_ratio else (low + high) / 2)

    def rounded(self, setting: float) -> float:
        """Round a setting as a person would write it."""
        digits = {"share": ".3f", "learning_rate": ".3g", "epochs": ".2f"}[self.over]
        return float(f"{setting:{digits}}")


def share_knob(own: float, low: float | None = None, high: float | None = None) -> Knob:
    """Vary the task's share of an epoch."""
    low, high = 0.0 if low is None else low, 1.0 if high is None else high
    return Knob("share", low, high, round(own, 3), 0.05)


def rate_knob(own: float, low: float | None = None, high: float | None = None) -> Knob:
    """Vary the peak learning rate."""
    low = own / GENTLER if low is None else low
    return Knob("learning_rate", low, own * STRONGER if high is None else high, own, 1.25)


def epochs_knob(own: float, low: float | None = None, high: float | None = None) -> Knob:
    """Vary the passes over the data."""
    low = 0.0 if low is None else low
    high = max(TEN_EPOCHS, own) if high is None else high
    return Knob("epochs", low, high, own, 0.5)
