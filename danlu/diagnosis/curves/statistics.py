"""The statistics behind the signs: rank tests and robust fits that heavy tails do not mislead.

The loss of a batch is noise of unknown, heavy-tailed shape, whose spread differs from step to step.
Ranks do not care for the shape, and what is exact (an epoch's mean) is preferred to what is tested.

Shapes: N points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NORMAL_MAD = 1.4826
"""The standard deviation of a normal distribution is this many times its median deviation."""


class Trend(NamedTuple):
    """A monotone trend.

    Attributes:
        z: Mann and Kendall's, in standard deviations; above 0 if the values rise.
        rise: Theil and Sen's slope, times the length: how much they rise from end to end.
    """

    z: float
    rise: float


def trend(values: Floats) -> Trend:
    """Test values for a monotone trend (Mann 1945; Kendall 1975; Sen 1968).

    Independent of the noise's shape, as long as it is the same at every point.

    Args:
        values: ``(N,)``, evenly spaced; N at most a few hundred, for all pairs are compared.

    Example:
        >>> trend(np.arange(10.0)).z > 3.9, trend(np.arange(10.0)).rise
        (True, 9.0)
    """
    n = len(values)
    if n < 3:
        return Trend(0.0, 0.0)
    first, second = np.triu_indices(n, 1)
    differences = values[second] - values[first]
    score = float(np.sign(differences).sum())
    _, ties = np.unique(values, return_counts=True)
    spread = n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())
    if spread <= 0:
        return Trend(0.0, 0.0)
    slope = float(np.median(differences / (second - first)))
    return Trend(
        (score - math.copysign(min(1, abs(score)), score)) / math.sqrt(spread / 18), slope * (n - 1)
    )


def falling_fit(values: Floats, weights: Floats) -> Floats:
    """Fit the non-increasing curve that is nearest in squares, by pooling adjacent violators.

    Any sound curve may be so fitted, stairs at epoch borders too, whatever its shape (Ayer et al.
    1955); what is left over is noise, or a rise.

    Args:
        values: ``(N,)``.
        weights: ``(N,)``, positive.

    Returns:
        ``(N,)``.

    Example:
        >>> falling_fit(np.array([3.0, 1.0, 2.0]), np.ones(3)).tolist()
        [3.0, 1.5, 1.5]
    """
    means: list[float] = []
    sizes: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        sizes.append(weight)
        counts.append(1)
        while len(means) > 1 and means[-2] < means[-1]:
            mean, size, count = means.pop(), sizes.pop(), counts.pop()
            whole = sizes[-1] + size
            means[-1] = (means[-1] * sizes[-1] + mean * size) / whole
            sizes[-1] = whole
            counts[-1] += count
    return np.repeat(np.array(means), counts)


def serial_z(values: Floats) -> float:
    """Test whether neighbours are alike: Bartels' rank version of von Neumann's ratio (1982).

    Returns:
        Standard deviations above what independent values in any order would have; above 0 if
        neighbours are alike.

    Example:
        >>> serial_z(np.sin(np.arange(40) / 4)) > 5, abs(serial_z(np.array([1.0, 5, 2, 4]))) < 2
        (True, True)
    """
    n = len(values)
    if n < 10:
        return 0.0
    ranks = np.empty(n)
    ranks[np.argsort(values, kind="stable")] = np.arange(n)
    ratio = float((np.diff(ranks) ** 2).sum() / ((ranks - ranks.mean()) ** 2).sum())
    spread = 4 * (n - 2) * (5 * n**2 - 2 * n - 9) / (5 * n * (n + 1) * (n - 1) ** 2)
    return (2 - ratio) / math.sqrt(spread)


def turns(values: Floats, weights: Floats, least: float) -> int:
    """Count the swings of a curve: moves up or down by at least ``least`` of its smoothed form.

    Args:
        values: ``(N,)``.
        weights: ``(N,)``.
        least: What counts as a move.

    Example:
        >>> wave = np.sin(np.arange(100) / 8)
        >>> turns(wave, np.ones(100), least=0.5)
        4
    """
    smooth = block_means(values, weights, min(len(values), max(8, round(len(values) / 4))))
    count, direction = 0, 0
    low = high = float(smooth[0])
    for value in smooth.tolist()[1:]:
        low, high = min(low, value), max(high, value)
        if direction <= 0 and value - low >= least:
            count, direction, high = count + (direction < 0), 1, value
        elif direction >= 0 and high - value >= least:
            count, direction, low = count + (direction > 0), -1, value
    return count


def block_means(values: Floats, weights: Floats, blocks: int) -> Floats:
    """Cut ``(N,)`` values into stretches of equal length, and return their means ``(blocks,)``."""
    edges = np.linspace(0, len(values), blocks + 1).round().astype(int)[:-1]
    sums: Floats = np.add.reduceat(values * weights, edges)
    return sums / np.add.reduceat(weights, edges)


def noise(values: Floats, weights: Floats | None = None) -> float:
    """Estimate the spread of one value around a smooth curve, by what neighbours differ.

    A slope, a few steps or a few spikes change it hardly. With weights it is the spread of a value
    of the median weight, where the variance goes with the inverse of the weight.

    Example:
        >>> noise(np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 9.0, 1.0])) < 1.1
        True
    """
    if len(values) < 3:
        return math.inf
    differences = np.diff(values)
    if weights is not None and np.median(weights) > 0:
        inverse = 1 / np.maximum(weights, 1e-9)
        differences /= np.sqrt((inverse[1:] + inverse[:-1]) / 2 * float(np.median(weights)))
    return float(np.median(np.abs(differences))) * NORMAL_MAD / math.sqrt(2)


def mean(values: Floats, weights: Floats) -> float:
    """Average by weight; plainly where there is no weight."""
    total = float(weights.sum())
    return float(values.mean()) if total <= 0 else float((values * weights).sum() / total)


def chance(z: float) -> float:
    """Return the probability that a standard normal variable exceeds ``z``.

    Example:
        >>> round(chance(1.645), 3)
        0.05
    """
    return 0.5 * math.erfc(z / math.sqrt(2))
