"""Many tests at once: how to keep chance from looking like a finding."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from danlu.evaluation.statistics.inputs import Bools, Floats, between, numbers, same_length


class Gatekept(NamedTuple):
    """Two levels of tests, parents before children.

    Attributes:
        parents: (G,) labels of the families, sorted.
        parent_p: (G,) p value of each family, combined from its children.
        parent_rejected: (G,) bool, families in which something differs.
        child_adjusted: (N,) adjusted p values, to be held against the level; 1 in families that
            were not rejected.
        child_rejected: (N,) bool.
    """

    parents: NDArray[Any]
    parent_p: Floats
    parent_rejected: Bools
    child_adjusted: Floats
    child_rejected: Bools


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Return p values adjusted for the false discovery rate: of what is called, the false share.

    Benjamini and Hochberg 1995; for screening. Valid if the tests are independent or positively
    dependent.

    Args:
        p_values: (N,), between 0 and 1.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5])
        array([0.04      , 0.05333333, 0.05333333, 0.5       ])
    """
    p = _p_values(p_values)
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(p[order] * len(p) / ranks)
    return adjusted


def holm(p_values: ArrayLike) -> Floats:
    """Return p values adjusted so that any false call at all is rare (Holm 1979); for a gate.

    Args:
        p_values: (N,), between 0 and 1, of any dependence.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    p = _p_values(p_values)
    order = np.argsort(p)
    steps = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1.0)
    return adjusted


def simes(p_values: ArrayLike) -> float:
    """Return the p value of "nothing differs in this family" (Simes 1986).

    It sees one child far out as well as many a little out, in either direction; the mean
    difference of the family would not see a loss beside a gain.

    Args:
        p_values: (N,), between 0 and 1.

    Example:
        >>> round(simes([0.01, 0.6, 0.9]), 6)
        0.03
    """
    return float(benjamini_hochberg(p_values).min())


def gatekeep(
    p_values: ArrayLike,
    families: NDArray[Any],
    *,
    level: float = 0.05,
    method: Literal["bh", "holm"] = "bh",
) -> Gatekept:
    """Test areas first, then the skills of those areas in which something differs.

    A family's p value is Simes' of its children.

    - ``bh``: families by Benjamini-Hochberg; in the R of G that are rejected, children by
      Benjamini-Hochberg at ``level * R / G``. Keeps the false discovery rate of the families, and
      the mean of it within the selected ones (Benjamini and Bogomolov 2014; Bogomolov, Peterson,
      Benjamini and Sabatti 2021).
    - ``holm``: each family has ``level / G`` for itself: it is rejected if its p value is at most
      that, and then its children by Holm at that level. Whatever is true, a family makes a false
      call with at most that chance, so that any false call at all has at most ``level``.

    Args:
        p_values: (N,) of the children.
        families: (N,) label of each child's parent.
        level: Between 0 and 1.
        method: ``bh`` for screening, ``holm`` for a gate.

    Raises:
        ValueError: If there is nothing to test, the lengths differ, or the method is unknown.

    Example:
        >>> found = gatekeep([0.001, 0.9, 0.04, 0.8], np.array(["a", "a", "b", "b"]))
        >>> found.parent_rejected, found.child_rejected
        (array([ True, False]), array([ True, False, False, False]))
    """
    p = _p_values(p_values)
    same_length(p_values=p, families=families)
    between("level", level, 0, 1)
    if method not in ("bh", "holm"):
        raise ValueError(f"method is {method!r}; allowed: bh, holm")
    parents, family = np.unique(families, return_inverse=True)
    members = [np.flatnonzero(family == one) for one in range(len(parents))]
    parent_p = np.array([simes(p[inside]) for inside in members])
    if method == "bh":
        rejected = benjamini_hochberg(parent_p) <= level
        factor, adjust = len(parents) / max(int(rejected.sum()), 1), benjamini_hochberg
    else:
        rejected = parent_p * len(parents) <= level
        factor, adjust = float(len(parents)), holm
    adjusted = np.ones(len(p))
    for inside in (one for one, open_ in zip(members, rejected, strict=True) if open_):
        adjusted[inside] = np.minimum(adjust(p[inside]) * factor, 1.0)
    return Gatekept(parents, parent_p, rejected, adjusted, adjusted <= level)


def _p_values(values: ArrayLike) -> Floats:
    found = numbers("p_values", values)
    if (found < 0).any() or (found > 1).any():
        raise ValueError("p values must lie between 0 and 1")
    return found
