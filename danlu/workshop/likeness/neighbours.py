"""The most similar texts among many: TF-IDF over hashed units and pairs of units.

Units are words, and characters of scripts without spaces, so Chinese is compared as English is.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.workshop.likeness.text import fold, units

BITS = 20
LONGEST_UNITS = 400
"""Units of a text that are looked at: what a task is stands at its beginning and its end."""

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]


class Features(NamedTuple):
    """A text as a sparse vector of length 1.

    Attributes:
        places: ``(F,)`` int64, ascending.
        weights: ``(F,)`` float32.
    """

    places: Int64
    weights: Float32


class Index:
    """Texts that others are compared with.

    Args:
        texts: ``N`` of them.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [_counts(text) for text in texts]
        documents: Counter[int] = Counter(place for one in counts for place in one)
        self._inverse = {
            place: math.log((1 + len(texts)) / (1 + count)) + 1
            for place, count in documents.items()
        }
        self._size = len(texts)
        vectors = [self._vector(one) for one in counts]
        places = np.concatenate([one.places for one in vectors] or [np.empty(0, np.int64)])
        weights = np.concatenate([one.weights for one in vectors] or [np.empty(0, np.float32)])
        owners = np.repeat(np.arange(len(texts)), [len(one.places) for one in vectors])
        order = np.argsort(places, kind="stable")
        self._owners, self._weights = owners[order], weights[order]
        known, begins = np.unique(places[order], return_index=True)
        ends = np.append(begins[1:], len(places))[: len(known)]
        self._rows = dict(
            zip(known.tolist(), zip(begins.tolist(), ends.tolist(), strict=True), strict=True)
        )

    def similarities(self, text: str) -> Float32:
        """Return the cosine of a text with every text of the index, ``(N,)``, each from 0 to 1.

        Example:
            >>> index = Index(["写一首诗", "write a poem", "add two and three"])
            >>> index.similarities("请写诗").argmax(), index.similarities("Write poems").argmax()
            (np.int64(0), np.int64(1))
        """
        vector = self._vector(_counts(text))
        owners: list[Int64] = []
        products: list[Float32] = []
        for place, weight in zip(vector.places.tolist(), vector.weights.tolist(), strict=True):
            row = self._rows.get(place)
            if row is not None:
                owners.append(self._owners[row[0] : row[1]])
                products.append(self._weights[row[0] : row[1]] * weight)
        if not owners:
            return np.zeros(self._size, np.float32)
        found = np.bincount(np.concatenate(owners), np.concatenate(products), self._size)
        return np.minimum(found, 1.0).astype(np.float32)

    def _vector(self, counts: Counter[int]) -> Features:
        """Weigh by TF-IDF; a unit that no text of the index has still counts in the length."""
        rare = math.log(1 + self._size) + 1
        places = np.array(sorted(counts), np.int64)
        values = [
            (1 + math.log(counts[place])) * self._inverse.get(place, rare)
            for place in places.tolist()
        ]
        weights = np.array(values, np.float32)
        return Features(places, weights / (np.linalg.norm(weights) or 1.0))


def _counts(text: str) -> Counter[int]:
    found = units(fold(text))
    if len(found) > LONGEST_UNITS:
        found = found[: LONGEST_UNITS // 2] + found[-LONGEST_UNITS // 2 :]
    pairs = [f"{one} {other}" for one, other in pairwise(found)]
    return Counter(_place(one) for one in (*found, *pairs))


def _place(unit: str) -> int:
    digest = hashlib.blake2b(unit.encode("utf-8", "replace"), digest_size=4).digest()
    return int.from_bytes(digest) >> (32 - BITS)
