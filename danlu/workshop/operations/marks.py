"""Marks: numbers that stand for a draw, of each record alone.

Whoever has the lowest marks is drawn. As a mark depends on the record and the seed, and on nothing
beside it, a draw changes little when other records come or go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

UInt64 = NDArray[np.uint64]


def marks_of_ids(ids: Iterable[str], seed: int) -> UInt64:
    """Hash ids with a seed.

    Example:
        >>> marks_of_ids(["a", "b"], 0).tolist() == marks_of_ids(["b", "a"], 0).tolist()[::-1]
        True
    """
    key = (seed % (1 << 64)).to_bytes(8, "little")
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8, key=key).digest(), "little")
            for one in ids
        ],
        np.uint64,
    )


def marks_of_places(count: int, seed: int, epoch: int) -> UInt64:
    """Draw marks for places in a list, anew for each epoch; of longer lists the same at first.

    Example:
        >>> marks_of_places(2, 0, 0).tolist() == marks_of_places(3, 0, 0).tolist()[:2]
        True
    """
    draw = np.random.default_rng([seed, epoch])
    return draw.integers(0, 1 << 64, count, dtype=np.uint64)
