"""What every function here asks of its input: something there, nothing missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def numbers(name: str, values: ArrayLike, *, dimensions: int = 1) -> Floats:
    """Return finite numbers as float64.

    Raises:
        ValueError: If there are none, one is missing (None, NaN, infinite), or the shape is wrong.

    Example:
        >>> numbers("score", [1, 0.5])
        array([1. , 0.5])
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != dimensions:
        raise ValueError(f"{name} has {found.ndim} dimensions; it must have {dimensions}")
    if not found.size:
        raise ValueError(f"{name} is empty: there is nothing to compute from")
    if missing := int((~np.isfinite(found)).sum()):
        raise ValueError(
            f"{name}: {missing} of {found.size} values are missing or not finite; leave them out "
            "and say how many they were, or find out why they are missing"
        )
    return found


def counts(name: str, values: ArrayLike) -> Ints:
    """Return whole numbers of 0 and more as int64, of any shape but empty.

    Raises:
        ValueError: If there are none, or one is negative or broken.

    Example:
        >>> counts("right", [3, 0])
        array([3, 0])
    """
    found = np.asarray(values)
    if not found.size:
        raise ValueError(f"{name} is empty: there is nothing to compute from")
    if found.dtype.kind not in "biu":
        whole = np.asarray(values, dtype=np.float64)
        if not np.isfinite(whole).all() or (whole != np.round(whole)).any():
            raise ValueError(f"{name} must be whole numbers")
        found = whole
    if (found < 0).any():
        raise ValueError(f"{name} must not be negative")
    return found.astype(np.int64)


def between(name: str, value: float, low: float, high: float) -> float:
    """Return a number that lies strictly between two others.

    Raises:
        ValueError: If it does not.

    Example:
        >>> between("confidence", 0.95, 0, 1)
        0.95
    """
    if not low < value < high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
    return float(value)


def same_length(**arrays: NDArray[Any]) -> None:
    """Check that arrays have one length.

    Raises:
        ValueError: If they do not.
    """
    if len({len(one) for one in arrays.values()}) > 1:
        lengths = ", ".join(f"{name} {len(one)}" for name, one in arrays.items())
        raise ValueError(f"lengths differ: {lengths}; there must be one value each per prompt")
