"""How alike texts of a sample are: bags of units, the Vendi score, clusters, distinct n-grams."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

WIDTH = 2048
"""Columns that the units and pairs of units of a text are hashed to."""

LONGEST_UNITS = 256
"""So much of a text is looked at."""

PRIME = 1_000_003
"""Makes one number of a pair of units."""


def similarities(texts: Sequence[Sequence[str]]) -> Float64:
    """Return the cosine between all texts, as bags of their units and pairs of units.

    Args:
        texts: T texts as units (``danlu.workshop.likeness.text``).

    Returns:
        ``(T, T)``, from 0 to 1, with 1 on the diagonal; a text without units is like none other.

    Example:
        >>> similarities([["a", "b"], ["a", "b"], ["c"]]).round(6).tolist()
        [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    bags = np.zeros((len(texts), WIDTH), np.float32)
    numbers: dict[str, int] = {}
    for bag, text in zip(bags, texts, strict=True):
        for unit in text[:LONGEST_UNITS]:
            if unit not in numbers:
                numbers[unit] = zlib.crc32(unit.encode())
        found = np.array([numbers[unit] for unit in text[:LONGEST_UNITS]], np.int64)
        pairs = found[:-1] * PRIME + found[1:]
        bag += np.bincount(np.concatenate([found, pairs]) % WIDTH, minlength=WIDTH)
    products = (bags @ bags.T).astype(np.float64)
    norms = np.sqrt(np.maximum(np.diag(products), 1.0))
    alike: Float64 = np.clip(products / np.outer(norms, norms), 0.0, 1.0)
    np.fill_diagonal(alike, 1.0)
    return alike


def vendi_score(alike: Float64) -> float:
    """Return the effective number of different texts: from 1 (all are equal) to T (none alike).

    The exponential of the entropy of the eigenvalues of K / T (Friedman and Dieng 2022,
    arXiv:2210.02410, definition 3.1).

    Args:
        alike: ``(T, T)``: K, positive semi-definite with 1 on the diagonal, T > 0.

    Example:
        >>> round(vendi_score(np.ones((5, 5))), 6), round(vendi_score(np.eye(5)), 6)
        (1.0, 5.0)
    """
    values = np.linalg.eigvalsh(alike / len(alike))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def clusters(alike: Float64, at_least: float) -> list[list[int]]:
    """Return the groups of texts that hang together by similarities of at least a limit.

    Returns:
        Groups of two or more, the largest first.

    Example:
        >>> clusters(np.array([[1, 0.9, 0], [0.9, 1, 0.1], [0, 0.1, 1]]), 0.8)
        [[0, 1]]
    """
    near = alike >= at_least
    seen = np.zeros(len(alike), np.bool_)
    groups = []
    for start in range(len(alike)):
        if seen[start]:
            continue
        members = np.zeros(len(alike), np.bool_)
        edge = members.copy()
        edge[start] = True
        while edge.any():
            members |= edge
            edge = near[edge].any(axis=0) & ~members
        seen |= members
        if members.sum() > 1:
            groups.append(np.flatnonzero(members).tolist())
    return sorted(groups, key=len, reverse=True)


def distinct_ngrams(texts: Sequence[Sequence[str]], n: int) -> float | None:
    """Return the share of different ones among all n-grams of units; None if there is none.

    Li et al. 2016 (arXiv:1510.03055), distinct-n.

    Example:
        >>> distinct_ngrams([["a", "b", "c"], ["a", "b", "d"]], 2)
        0.75
    """
    grams = [gram for text in texts for gram in zip(*(text[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / len(grams) if grams else None
