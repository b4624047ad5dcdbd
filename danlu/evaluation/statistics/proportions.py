"""Intervals of proportions: of one, and of the difference of two on the same prompts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from danlu.evaluation.statistics.distributions import normal_quantile
from danlu.evaluation.statistics.inputs import Bools, Floats, Ints, between, counts

HALVINGS = 60
"""Of an interval of length 2: leaves an error below 1e-17, that is, rounding only."""


class Interval(NamedTuple):
    """An interval, or an array of them.

    Attributes:
        low: Lower ends, float64.
        high: Upper ends, float64.
    """

    low: Floats
    high: Floats


def wilson(successes: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a proportion.

    It keeps its coverage for few prompts and near 0 and 1, where the usual ``p ± 1.96 s`` fails
    (Wilson 1927; Brown, Cai and DasGupta 2001, equation 4).

    Args:
        successes: Counts of any shape.
        n: Of how many, broadcast against ``successes``.
        confidence: Between 0 and 1.

    Raises:
        ValueError: If ``n`` is 0, or there are more successes than that.

    Example:
        >>> low, high = wilson(9, 10)
        >>> print(f"{low:.3f} {high:.3f}")
        0.596 0.982
    """
    k, total = np.broadcast_arrays(counts("successes", successes), counts("n", n))
    if (total == 0).any():
        raise ValueError("n is 0: a proportion of nothing has no interval")
    if (k > total).any():
        raise ValueError("more successes than n")
    z = normal_quantile((1 + between("confidence", confidence, 0, 1)) / 2)
    p = k / total
    middle = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    # At the borders the formula gives them exactly, but for rounding.
    low = np.where(k == 0, 0.0, middle - half)
    high = np.where(k == total, 1.0, middle + half)
    return Interval(low, high)


def paired_difference(
    wins: ArrayLike, losses: ArrayLike, n: ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Return Tango's score interval of the difference of two proportions on the same prompts.

    Of the difference B - A = (wins - losses) / n, all values d are kept that the score test does
    not reject: ``(wins - losses - n d)**2 <= z**2 n (2 q + d (1 - d))``, where q is the likeliest
    P(only A right) if the difference is d (Tango 1998, equations 5 to 8). For few prompts it holds
    its coverage better than Newcombe's and far better than Wald's (Fagerland, Lydersen and Laake
    2014).

    Args:
        wins: Prompts that B alone has right, of any shape.
        losses: Prompts that A alone has right.
        n: All prompts.
        confidence: Between 0 and 1.

    Raises:
        ValueError: If ``n`` is 0, or smaller than wins and losses together.

    Example:
        >>> low, high = paired_difference(7, 1, 21)
        >>> print(f"{low:.3f} {high:.3f}")
        0.026 0.517
    """
    b, c, total = np.broadcast_arrays(
        counts("wins", wins), counts("losses", losses), counts("n", n)
    )
    if (total == 0).any():
        raise ValueError("n is 0: a difference on no prompts has no interval")
    if (b + c > total).any():
        raise ValueError("wins and losses are more than n")
    z = normal_quantile((1 + between("confidence", confidence, 0, 1)) / 2)
    # The lower end of B - A is the upper end of A - B with its sign changed.
    return Interval(_lower_end(b, c, total, z), -_lower_end(c, b, total, z))


def _lower_end(b: Ints, c: Ints, n: Ints, z: float) -> Floats:
    low, high = np.full(b.shape, -1.0), np.asarray((b - c) / n, dtype=np.float64)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        outside = _rejected(middle, b, c, n, z)
        low, high = np.where(outside, middle, low), np.where(outside, high, middle)
    found: Floats = (low + high) / 2
    return found


def _rejected(d: Floats, b: Ints, c: Ints, n: Ints, z: float) -> Bools:
    """Tell where the score test rejects the difference ``d``."""
    linear = (2 * n - b + c) * d - (b + c)
    root = np.sqrt(np.maximum(linear**2 + 8 * n * c * d * (1 - d), 0.0))
    q = np.maximum((root - linear) / (4 * n), np.maximum(0.0, -d))
    variance = n * np.maximum(2 * q + d * (1 - d), 0.0)
    found: Bools = (b - c - n * d) ** 2 > z**2 * variance
    return found
