"""Cheap vectors of texts: hashed words and pairs of words, weighed by how rare they are.

Made of units that are right for Chinese, so that a sentence is not one word. Sparse, of length 1,
so that the product of two is their cosine.

Shapes: R texts, N entries of all vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from danlu.workshop.likeness.overlap import Int64
from danlu.workshop.likeness.text import fold, units

FEATURES = 1 << 20

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Vectors:
    """Sparse vectors, and for each feature who has it.

    Attributes:
        offsets: ``(R + 1,)``: where the entries of each text begin and end.
        feature: ``(N,)``: numbers from 0, rising within a text.
        weight: ``(N,)``: above 0.
        holders: ``(N,)``: the texts that have a feature, feature by feature.
        held: ``(N,)``: with which weight.
        starts: ``(F + 1,)``: where the holders of each of the F features begin and end.
    """

    offsets: Int64
    feature: Int64
    weight: Float64
    holders: Int64
    held: Float64
    starts: Int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def cosines(self, text: int) -> Float64:
        """Return the cosine of one text with every text; ``(R,)``."""
        own = slice(self.offsets[text], self.offsets[text + 1])
        return self.products(self.feature[own], self.weight[own])

    def products(self, feature: Int64, weight: Float64) -> Float64:
        """Return the product of a vector with every text's; ``(R,)``."""
        begins = self.starts[feature]
        counts = self.starts[feature + 1] - begins
        ahead = np.cumsum(counts) - counts
        place = np.arange(int(counts.sum())) + np.repeat(begins - ahead, counts)
        parts = self.held[place] * np.repeat(weight, counts)
        return np.bincount(self.holders[place], parts, len(self)).astype(np.float64, copy=False)

    def mean(self) -> tuple[Int64, Float64]:
        """Return the mean vector as features and weights."""
        count = len(self.starts) - 1
        total = np.bincount(self.feature, self.weight, count)
        return np.arange(count), total / max(1, len(self))


def text_vectors(texts: Sequence[str]) -> Vectors:
    """Make a vector of each text: tf-idf of its units and pairs of neighbouring units.

    The weight is (1 + log tf) (1 + log(R / df)), as in Manning et al. 2008, ch. 6, but that no
    feature weighs nothing. A text without units has a vector of no entries.

    Args:
        texts: As they are; they are folded.
    """
    numbers: dict[str, int] = {}
    rows: list[list[int]] = []
    for text in texts:
        cut = units(fold(text))
        named = [*cut, *(f"{one} {other}" for one, other in pairwise(cut))]
        rows.append([numbers.setdefault(name, len(numbers)) for name in named])
    # Places are hashed, so that sums over features do not depend on the order of the texts.
    place_of = np.array([_place(name) for name in numbers], np.int64)
    sizes = np.array([len(row) for row in rows], np.int64)
    flat = np.fromiter((number for row in rows for number in row), np.int64, int(sizes.sum()))
    owners = np.repeat(np.arange(len(texts)), sizes)
    keys, times = np.unique(owners * FEATURES + place_of[flat], return_counts=True)
    owner = keys // FEATURES
    _, feature, holders = np.unique(
        keys - owner * FEATURES, return_inverse=True, return_counts=True
    )
    rarity = 1 + np.log(len(texts) / holders)
    weight = (1 + np.log(times)) * rarity[feature]
    length = np.sqrt(np.bincount(owner, weight * weight, len(texts)))
    weight = weight / length[owner]
    order = np.lexsort((owner, feature))
    return Vectors(
        np.searchsorted(owner, np.arange(len(texts) + 1)),
        feature,
        weight,
        owner[order],
        weight[order],
        np.concatenate([[0], np.cumsum(holders)]),
    )


def _place(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % FEATURES
