"""ROUGE-L over units: the longest common subsequence of two texts, exactly, and right for Chinese.

F1 = 2 LCS / (m + n) for texts of m and n units (Lin 2004, with beta = 1). The longest common
subsequence is at most what the two bags of units share, so the join of ``overlap`` finds every pair
that may be above a limit; only those are aligned.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np

from danlu.workshop.likeness.greedy import Alike, Float64
from danlu.workshop.likeness.overlap import Bags, Bool, Int64, Join, Limit, Pairs, gather
from danlu.workshop.likeness.text import fold, units

_PORTION = 1 << 16


def rouge_l(text: str, other: str) -> float:
    """Return the ROUGE-L F1 of two texts, folded; 0 where either has no unit.

    Example:
        >>> rouge_l("今天天气好", "今天天气好。"), rouge_l("the cat sat", "The cat ran")
        (1.0, 0.6666666666666666)
    """
    bags = unit_bags([units(fold(text)), units(fold(other))])
    [value] = _f1(bags, Pairs(np.array([0]), np.array([1]))).tolist()
    return float(value)


def unit_bags(texts: Iterable[Sequence[Hashable]]) -> Bags:
    """Number the units of texts: equal units, equal numbers. Holds 8 bytes for each unit."""
    numbers: dict[Hashable, int] = {}
    sizes, flat = array("q", [0]), array("q")
    for text in texts:
        sizes.append(len(text))
        flat.extend([numbers.setdefault(unit, len(numbers)) for unit in text])
    return Bags(np.cumsum(sizes, dtype=np.int64), np.array(flat, np.int64))


class AboveRouge:
    """Finds the pairs of texts whose ROUGE-L F1 is above a limit.

    Args:
        bags: The units of each text in their order, in the order of the texts.
        limit: Between 0 and 1, both left out.
    """

    def __init__(self, bags: Bags, limit: float) -> None:
        self._bags, self._limit = bags, limit
        self._join = Join(bags, Limit.f1(limit, int(bags.sizes.max(initial=0))))

    def alike(self, start: int, stop: int, first: int, last: int | None) -> Iterator[Alike]:
        """Find pairs, as ``greedy.Finder`` says."""
        for pairs in self._join.pairs(start, stop, first, last):
            value = _f1(self._bags, pairs)
            above = value > self._limit
            yield Alike(pairs.left[above], pairs.right[above], value[above])

    def drop(self, alive: Bool) -> None:
        """Forget texts as left ones."""
        self._join.drop(alive)


def _f1(bags: Bags, pairs: Pairs) -> Float64:
    total = bags.sizes[pairs.left] + bags.sizes[pairs.right]
    value = np.zeros(len(total))
    for begin in range(0, len(total), _PORTION):
        portion = slice(begin, begin + _PORTION)
        common = _common(bags, Pairs(pairs.left[portion], pairs.right[portion]))
        value[portion] = 2 * common / np.maximum(total[portion], 1)
    return value


def _common(bags: Bags, pairs: Pairs) -> Int64:
    """Return the length of each pair's longest common subsequence (bit-parallel, by rapidfuzz)."""
    from rapidfuzz.distance import LCSseq
    from rapidfuzz.process import cpdist

    involved, place = np.unique(np.stack(pairs), return_inverse=True)
    # Units become the characters of strings, counted anew so that there are enough characters.
    tokens = np.unique(gather(bags, involved), return_inverse=True)[1]
    assert int(tokens.max(initial=0)) < 0x110000, "a portion has more units than Unicode characters"
    text = tokens.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    ends = np.cumsum(bags.sizes[involved]).tolist()
    strings = [text[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    left, right = ([strings[number] for number in side] for side in place.reshape(2, -1).tolist())
    found = cpdist(left, right, scorer=LCSseq.similarity, dtype=np.int64)
    return np.asarray(found, np.int64)
