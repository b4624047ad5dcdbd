"""Prompts that belong together: those of one source document, or made from one template.

They are not independent, so they are summed per cluster, and clusters are what is resampled.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from danlu.evaluation.statistics.inputs import Floats, numbers, same_length


class ClusterSums(NamedTuple):
    """Values summed per cluster; a prompt without cluster is one of its own.

    Attributes:
        sums: (K,) float64, sum of the values.
        sizes: (K,) float64, how many prompts.
    """

    sums: Floats
    sizes: Floats

    @property
    def mean(self) -> float:
        """Mean over prompts, not over clusters."""
        return float(self.sums.sum() / self.sizes.sum())


def cluster_sums(values: ArrayLike, clusters: NDArray[Any] | None = None) -> ClusterSums:
    """Sum values per cluster.

    Args:
        values: (N,), one per prompt.
        clusters: (N,) labels that can be sorted; None: each prompt is its own.

    Raises:
        ValueError: If there is no value, one is missing, or the lengths differ.

    Example:
        >>> cluster_sums([1, 0, 1], np.array(["a", "b", "a"]))
        ClusterSums(sums=array([2., 0.]), sizes=array([2., 1.]))
    """
    found = numbers("values", values)
    if clusters is None:
        return ClusterSums(found, np.ones(len(found)))
    same_length(values=found, clusters=clusters)
    _, place = np.unique(clusters, return_inverse=True)
    sizes: Floats = np.bincount(place).astype(np.float64)
    sums: Floats = np.bincount(place, weights=found).astype(np.float64)
    return ClusterSums(sums, sizes)


def cluster_error(of: ClusterSums) -> float:
    """Return the standard error of the mean over prompts.

    The sum over clusters of their deviations from the mean, squared, over n squared, with the
    usual K / (K - 1) (Miller 2024, equation 4; with clusters of one it is sd / sqrt(n)).

    Raises:
        ValueError: If there is one cluster only.

    Example:
        >>> round(cluster_error(cluster_sums([0, 1, 2, 3])), 4)
        0.6455
    """
    many = len(of.sums)
    if many < 2:
        raise ValueError("one cluster only: how much clusters differ cannot be seen from one")
    deviations = of.sums - of.mean * of.sizes
    return math.sqrt(many / (many - 1) * float((deviations**2).sum())) / float(of.sizes.sum())
