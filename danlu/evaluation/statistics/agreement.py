"""How far raters agree beyond chance: people among themselves, or a judge with people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from danlu.evaluation.statistics.inputs import counts, same_length


def cohen_kappa(first: Sequence[Any], second: Sequence[Any]) -> float:
    """Return Cohen's kappa of two raters of the same items (Cohen 1960).

    ``(observed - expected) / (1 - expected)`` agreement: 1 is full agreement, 0 is chance.

    Args:
        first: (N,) labels.
        second: (N,) labels.

    Raises:
        ValueError: If there are no items, the lengths differ, or both give one and the same label
            throughout: chance alone would then agree, and kappa is 0/0.

    Example:
        >>> cohen_kappa(["a", "a", "b", "b"], ["a", "b", "b", "b"])
        0.5
    """
    one, two = np.asarray(first), np.asarray(second)
    same_length(first=one, second=two)
    if not len(one):
        raise ValueError("no items: there is no agreement to measure")
    labels, place = np.unique(np.concatenate([one, two]), return_inverse=True)
    shares = [np.bincount(part, minlength=len(labels)) / len(one) for part in np.split(place, 2)]
    expected = float(shares[0] @ shares[1])
    return _beyond_chance(float((one == two).mean()), expected)


def fleiss_kappa(ratings: ArrayLike) -> float:
    """Return Fleiss' kappa of several raters (Fleiss 1971).

    Args:
        ratings: (items, labels) counts: how many raters gave the item the label; each row has the
            same sum, of at least 2.

    Raises:
        ValueError: If the sums differ, or all ratings are one and the same label.

    Example:
        >>> fleiss_kappa([[3, 0], [0, 3], [3, 0]])
        1.0
    """
    table = counts("ratings", ratings)
    if table.ndim != 2:
        raise ValueError("ratings must have a row per item and a column per label")
    raters = table.sum(axis=1)
    if (raters != raters[0]).any() or raters[0] < 2:
        raise ValueError("each item needs the same number of ratings, of at least 2")
    n = int(raters[0])
    agreement = ((table**2).sum(axis=1) - n) / (n * (n - 1))
    shares = table.sum(axis=0) / table.sum()
    return _beyond_chance(float(agreement.mean()), float((shares**2).sum()))


def _beyond_chance(observed: float, expected: float) -> float:
    if expected >= 1 - 1e-12:
        raise ValueError("kappa is undefined: all ratings are one and the same label")
    return (observed - expected) / (1 - expected)
