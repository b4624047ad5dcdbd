"""The paired bootstrap and the sign-flip permutation test, over clusters, without loops.

Both are exact in distribution and fast by two observations. Where few distinct values occur (right
and wrong give three differences) only how often each is drawn matters: one multinomial or binomial
number per distinct value, instead of one draw per prompt. And a sum under random signs is looked
up: each random byte picks the signed sum of eight clusters from a table.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.random import Generator

from danlu.evaluation.statistics.clusters import ClusterSums
from danlu.evaluation.statistics.distributions import (
    normal_cdf,
    normal_quantile,
    student_quantile,
)
from danlu.evaluation.statistics.inputs import Floats, between, numbers
from danlu.evaluation.statistics.proportions import Interval

CHUNK_CELLS = 1 << 16
"""Random numbers drawn at a time: 512 KB, so that they stay in the processor's cache."""

DRAWS_PER_COUNT = 40
"""One multinomial count costs as much as about this many draws (140 against 3.7 ns, measured)."""

ENUMERATED = 12
"""Up to this many clusters all 2**K signs are tried instead of drawn."""

_SIGNS: Floats = (
    1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, :8]
).astype(np.float64)


def bootstrap_means(of: ClusterSums, resamples: int, rng: Generator) -> Floats:
    """Draw clusters with replacement, and return the mean over prompts of each resample.

    Args:
        of: Sums and sizes of the clusters; for a paired comparison, of the differences B - A.
        resamples: How many.
        rng: Seeded by the caller.

    Returns:
        (resamples,) float64.

    Raises:
        ValueError: If there are fewer than two clusters, or no resamples.

    Example:
        >>> from danlu.evaluation.statistics.clusters import cluster_sums
        >>> bootstrap_means(cluster_sums([0.0, 1.0]), 4, np.random.default_rng(0))
        array([1. , 0.5, 0. , 0. ])
    """
    many = len(of.sums)
    if many < 2:
        raise ValueError("one cluster only: there is nothing to resample")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; it must be at least 1")
    # A complex number holds the pair (sum, size), and sorts by it.
    pairs, repeats = np.unique(of.sums + 1j * of.sizes, return_counts=True)
    if len(pairs) * DRAWS_PER_COUNT <= many:
        drawn = _multinomial_sums(pairs, repeats / many, many, resamples, rng)
        return drawn.real / drawn.imag
    same_size = bool((of.sizes == of.sizes[0]).all())
    means = np.empty(resamples)
    rows = max(1, CHUNK_CELLS // many)
    for start in range(0, resamples, rows):
        here = slice(start, min(start + rows, resamples))
        index = rng.integers(0, many, size=(here.stop - start, many))
        sums = of.sums.take(index).sum(axis=1)
        sizes = many * of.sizes[0] if same_size else of.sizes.take(index).sum(axis=1)
        means[here] = sums / sizes
    return means


def _multinomial_sums(
    values: np.ndarray[tuple[int], np.dtype[np.complex128]],
    shares: Floats,
    draws: int,
    resamples: int,
    rng: Generator,
) -> np.ndarray[tuple[int], np.dtype[np.complex128]]:
    found = np.empty(resamples, dtype=np.complex128)
    rows = max(1, CHUNK_CELLS // len(values))
    for start in range(0, resamples, rows):
        here = slice(start, min(start + rows, resamples))
        found[here] = rng.multinomial(draws, shares, size=here.stop - start) @ values
    return found


def bootstrap_interval(
    means: Floats,
    of: ClusterSums,
    *,
    confidence: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
    expand: bool = True,
) -> Interval:
    """Return the interval of a mean from its bootstrap distribution.

    Args:
        means: From ``bootstrap_means`` of the same clusters.
        of: The clusters.
        confidence: Between 0 and 1.
        method: ``percentile`` takes the quantiles of the resampled means; ``bca`` shifts them for
            bias and skewness (Efron 1987), with the acceleration from leaving out each cluster.
        expand: Widen the tails as Student's t and n / (n - 1) do for a mean: without it, the
            interval of 10 prompts covers 90 rather than 95 % (Hesterberg 2015, section 3.3).

    Raises:
        ValueError: If there are fewer than two clusters, or the method is unknown.

    Example:
        >>> from danlu.evaluation.statistics.clusters import cluster_sums
        >>> of = cluster_sums(np.arange(40.0))
        >>> means = bootstrap_means(of, 2000, np.random.default_rng(0))
        >>> low, high = bootstrap_interval(means, of)
        >>> print(f"{low:.0f} {high:.0f}")
        16 23
    """
    if method not in ("percentile", "bca"):
        raise ValueError(f"method is {method!r}; allowed: percentile, bca")
    means = numbers("means", means)
    many = len(of.sums)
    if many < 2:
        raise ValueError("one cluster only: an interval needs at least two")
    z = normal_quantile((1 + between("confidence", confidence, 0, 1)) / 2)
    if expand:
        z = student_quantile((1 + confidence) / 2, many - 1) * math.sqrt(many / (many - 1))
    ends = [-z, z]
    if method == "bca":
        ends = _bca_ends(means, of, ends)
    low, high = np.quantile(means, [normal_cdf(end) for end in ends])
    return Interval(low, high)


def _bca_ends(means: Floats, of: ClusterSums, ends: list[float]) -> list[float]:
    """Return the normal deviates at which BCa reads the distribution (Efron 1987, equation 2.3)."""
    # Resampled means that equal the estimate up to rounding count half.
    close = np.isclose(means, of.mean, rtol=1e-12, atol=1e-12)
    below = ((means < of.mean) & ~close).mean() + close.mean() / 2
    bias = normal_quantile(min(max(float(below), 0.5 / len(means)), 1 - 0.5 / len(means)))
    without = (of.sums.sum() - of.sums) / (of.sizes.sum() - of.sizes)
    away = without.mean() - without
    spread = float((away**2).sum())
    acceleration = float((away**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    return [bias + (bias + end) / (1 - acceleration * (bias + end)) for end in ends]


def sign_flip(sums: Floats, resamples: int, rng: Generator) -> float:
    """Return the two-sided p value of a sum of differences, by flipping signs of clusters.

    If A and B are alike, the difference of each cluster might as well have had the other sign. All
    signs are tried for up to 12 clusters: p is then exact. Otherwise p is
    (1 + as far out as seen) / (1 + resamples), which is never 0 and keeps its level (Phipson and
    Smyth 2010, equation 2).

    Args:
        sums: (K,) sums of the differences per cluster.
        resamples: How many random signings, if not all.
        rng: Seeded by the caller.

    Example:
        >>> sign_flip(np.array([1.0, 2.0, 3.0]), 1000, np.random.default_rng(0))
        0.25
    """
    sums = numbers("sums", sums)
    seen = abs(float(sums.sum()))
    as_far = seen - 1e-9 * float(np.abs(sums).sum())  # ties are as far out; rounding must not break
    if len(sums) <= ENUMERATED:
        return float((np.abs(_all_signed_sums(sums)) >= as_far).mean())
    drawn = sign_flip_sums(sums, resamples, rng)
    return float((1 + (np.abs(drawn) >= as_far).sum()) / (1 + resamples))


def sign_flip_sums(sums: Floats, resamples: int, rng: Generator) -> Floats:
    """Return the sum of the clusters under random signs, (resamples,) float64.

    Raises:
        ValueError: If there are no clusters, or no resamples.
    """
    sums = numbers("sums", sums)
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; it must be at least 1")
    sizes, repeats = np.unique(np.abs(sums), return_counts=True)
    if len(sizes) * DRAWS_PER_COUNT <= len(sums):
        # Of m equal differences, Binomial(m, 1/2) keep their sign.
        kept = rng.binomial(repeats, 0.5, size=(resamples, len(sizes)))
        found: Floats = (2.0 * kept - repeats) @ sizes
        return found
    eights = -(-len(sums) // 8)
    padded = np.zeros(eights * 8)
    padded[: len(sums)] = sums
    table = (padded.reshape(eights, 8) @ _SIGNS.T).ravel()  # of each eight, all 256 signed sums
    offset = 256 * np.arange(eights)
    found = np.empty(resamples)
    rows = max(1, CHUNK_CELLS // eights)
    for start in range(0, resamples, rows):
        here = slice(start, min(start + rows, resamples))
        picked = rng.integers(0, 256, size=(here.stop - start, eights), dtype=np.uint8)
        found[here] = table.take(picked + offset).sum(axis=1)
    return found


def _all_signed_sums(sums: Floats) -> Floats:
    found = np.zeros(1)
    for one in sums:
        found = np.concatenate([found + one, found - one])
    return found
