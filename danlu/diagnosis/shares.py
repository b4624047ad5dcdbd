"""Shares and means with their intervals, as findings quote them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from danlu.evaluation.statistics import bootstrap_interval, bootstrap_means, cluster_sums, wilson

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A figure and the interval it lies in.

    Attributes:
        value: The figure itself.
        low: Lower end.
        high: Upper end.
        n: Of how many.
    """

    value: float
    low: float
    high: float
    n: int

    def percent(self) -> str:
        """Say a share in words.

        Example:
            >>> share(9, 10).percent()
            '9 of 10 (60 to 98 %)'
        """
        right = round(self.value * self.n)
        return f"{right} of {self.n} ({100 * self.low:.0f} to {100 * self.high:.0f} %)"

    def figures(self, name: str) -> dict[str, float | int]:
        """Return it by name, for programs."""
        return {
            name: round(self.value, 4),
            f"{name}_low": round(self.low, 4),
            f"{name}_high": round(self.high, 4),
            f"{name}_of": self.n,
        }


NOTHING = Estimate(math.nan, -math.inf, math.inf, 0)
"""Of nothing: its interval excludes no value, so no test is ever passed by it."""


def share(count: int, of: int, confidence: float = 0.95) -> Estimate:
    """Return a share with Wilson's interval; ``NOTHING`` of nothing."""
    if not of:
        return NOTHING
    low, high = wilson(count, of, confidence=confidence)
    return Estimate(count / of, float(low), float(high), of)


def mean(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return a mean with its bootstrapped interval; of one value the interval is everything."""
    if not values:
        return NOTHING
    if len(values) == 1:
        return Estimate(values[0], -math.inf, math.inf, 1)
    of = cluster_sums(np.asarray(values, np.float64))
    means = bootstrap_means(of, RESAMPLES, np.random.default_rng(0))
    low, high = bootstrap_interval(means, of, confidence=confidence)
    return Estimate(of.mean, float(low), float(high), len(values))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """Return how much greater one share is than another of other prompts.

    Newcombe's interval from the two Wilson intervals (Newcombe 1998, method 10).

    Example:
        >>> found = difference(share(18, 20), share(5, 20))
        >>> f"{found.value:.2f} {found.low:.2f} {found.high:.2f}"
        '0.65 0.35 0.81'
    """
    if not one.n or not other.n:
        return NOTHING
    value = one.value - other.value
    down = math.hypot(one.value - one.low, other.high - other.value)
    up = math.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, value - down, value + up, min(one.n, other.n))
