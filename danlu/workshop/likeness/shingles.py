"""Texts as sets of character shingles, whose length follows the text.

A shingle of 2 characters says much in a short text and nothing in a long one, where most pairs of
characters occur. So its length is 2 below 30 characters, 3 up to 200, 5 beyond; a text of less than
5 characters is only ever equal to another or not. Two texts whose shingles differ in length are
both cut into the shingles of the shorter one. Lengths are those of the folded texts.

Shapes: R texts, T shingles of all texts, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from danlu.workshop.likeness.greedy import Alike
from danlu.workshop.likeness.overlap import Bags, Bool, Int64, Join, Limit, Pairs, shared

LENGTHS = (2, 3, 5)
SHORTEST = 5
"""A text of fewer characters has no shingles."""

_DENSE_ABOVE = 1 << 40


def shingle_length(characters: int) -> int:
    """Return how long the shingles of a text of so many characters are; 0 if it has none.

    Example:
        >>> [shingle_length(n) for n in (4, 5, 29, 30, 200, 201)]
        [0, 2, 2, 3, 3, 5]
    """
    if characters < SHORTEST:
        return 0
    return 2 if characters < 30 else 3 if characters <= 200 else 5


def shingle_sets(texts: Sequence[str], length: int) -> Bags:
    """Cut texts into their distinct shingles.

    Args:
        texts: Folded.
        length: Of a shingle, in characters; a shorter text has none.

    Returns:
        A bag for each text; equal shingles have one number, unequal ones never.

    Example:
        >>> shingle_sets(["abab", "ba"], 2).tokens.tolist()  # ab and ba; ba
        [1, 2, 2]
    """
    characters = _characters(texts)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    alphabet = np.zeros(int(characters.max(initial=0)) + 1, np.bool_)
    alphabet[characters] = True
    number = np.cumsum(alphabet) - 1
    codes = _codes(number[characters], int(alphabet.sum()), length)
    # A shingle begins anywhere in its text but in the last few characters.
    counts = np.maximum(sizes - length + 1, 0)
    begins = np.cumsum(sizes) - sizes
    ahead = np.cumsum(counts) - counts
    codes = codes[np.arange(int(counts.sum())) + np.repeat(begins - ahead, counts)]
    span = int(codes.max(initial=0)) + 1
    if span > _DENSE_ABOVE or span * len(texts) >= 1 << 63:
        codes = _dense(codes)
        span = int(codes.max(initial=0)) + 1
    keys = np.sort(np.repeat(np.arange(len(texts)), counts) * span + codes)
    if len(keys):
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    owners = keys // span
    offsets = np.searchsorted(owners, np.arange(len(texts) + 1))
    return Bags(offsets, keys - owners * span)


def jaccard(bags: Bags, pairs: Pairs) -> NDArray[np.float64]:
    """Return what two sets share over what they have together, exactly; ``(P,)``."""
    common = shared(bags, pairs)
    sizes = bags.sizes
    together: NDArray[np.float64] = common / (sizes[pairs.left] + sizes[pairs.right] - common)
    return together


class NearTexts:
    """Finds the pairs of texts whose shingles have a Jaccard similarity at or above a limit.

    Args:
        texts: Folded, in order.
        limit: Above 0, at most 1.
        length: Of the shingles; pairs whose shorter text has shingles of another length are left to
            others.
        group: ``(R,)``: only texts of one group are compared; None puts all into one.
    """

    def __init__(
        self, texts: Sequence[str], limit: float, length: int, group: Int64 | None = None
    ) -> None:
        own = np.array([shingle_length(len(text)) for text in texts], np.int64)
        chosen = np.flatnonzero(own == length)
        self._bags = shingle_sets([texts[number] for number in chosen.tolist()], length)
        longer = np.flatnonzero(own > length)
        if len(chosen) and len(longer):
            most = int(self._bags.sizes.max() / limit) + 1  # rounding decides nothing here
            longer = longer[
                _few_shingles([texts[number] for number in longer.tolist()], length, most)
            ]
            if len(longer):
                chosen = np.sort(np.concatenate([chosen, longer]))
                self._bags = shingle_sets([texts[number] for number in chosen.tolist()], length)
        self._number, self._limit = chosen, limit
        self._native = own[chosen] == length
        largest = int(self._bags.sizes.max(initial=0))
        self._join = Join(
            self._bags,
            Limit.jaccard(limit, largest),
            None if group is None else group[chosen],
        )

    def alike(self, start: int, stop: int, first: int, last: int | None) -> Iterator[Alike]:
        """Find pairs, as ``greedy.Finder`` says."""
        low, high, begin = np.searchsorted(self._number, [start, stop, first]).tolist()
        end = None if last is None else int(np.searchsorted(self._number, last))
        for pairs in self._join.pairs(low, high, begin, end):
            native = self._native[pairs.left] | self._native[pairs.right]
            pairs = Pairs(pairs.left[native], pairs.right[native])
            value = jaccard(self._bags, pairs)
            near = value >= self._limit
            yield Alike(
                self._number[pairs.left[near]], self._number[pairs.right[near]], value[near]
            )

    def drop(self, alive: Bool) -> None:
        """Forget texts as left ones."""
        self._join.drop(alive[self._number])


def near_texts(texts: Sequence[str], limit: float, group: Int64 | None = None) -> list[NearTexts]:
    """Make what finds all near-duplicates among folded texts, one finder per shingle length."""
    return [NearTexts(texts, limit, length, group) for length in LENGTHS]


def text_jaccard(texts: Sequence[str], pairs: Pairs) -> NDArray[np.float64]:
    """Compare pairs of folded texts by the shingles of the shorter one; ``(P,)``.

    Where that has none, it is 1 for equal texts, else 0.
    """
    both = np.stack([pairs.left, pairs.right])
    characters = np.fromiter(map(len, texts), np.int64, len(texts))[both].min(0, initial=1 << 40)
    length = np.array([shingle_length(int(count)) for count in characters], np.int64)
    value = np.zeros(len(length))
    for number in np.flatnonzero(length == 0).tolist():
        value[number] = texts[both[0, number]] == texts[both[1, number]]
    for known in LENGTHS:
        chosen = np.flatnonzero(length == known)
        involved, place = np.unique(both[:, chosen], return_inverse=True)
        bags = shingle_sets([texts[number] for number in involved.tolist()], known)
        left, right = place.reshape(2, -1)
        value[chosen] = jaccard(bags, Pairs(left, right))
    return value


def _few_shingles(texts: Sequence[str], length: int, most: int) -> Bool:
    """Say which texts may have so few distinct shingles: judged by how they begin, and no less."""
    begun = shingle_sets([text[: 2 * most + length] for text in texts], length)
    return begun.sizes <= most


def _characters(texts: Sequence[str]) -> NDArray[np.uint32]:
    raw = "".join(texts).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(raw, np.uint32)


def _codes(numbers: Int64, alphabet: int, length: int) -> Int64:
    """Number the shingles that begin at each character; equal numbers mean equal shingles.

    A shingle is read as a number whose digits are its characters; where that would not fit into 63
    bits, the numbers of its two parts are counted off instead.
    """
    count = max(0, len(numbers) - length + 1)
    if alphabet**length < 1 << 63:
        code = np.zeros(count, np.int64)
        for place in range(length):
            code = code * alphabet + numbers[place : place + count]
        return code
    head, tail = length - length // 2, length // 2
    first = _dense(_codes(numbers, alphabet, head)[:count])
    second = _dense(_codes(numbers, alphabet, tail)[head : head + count])
    return first * (int(second.max(initial=0)) + 1) + second


def _dense(codes: Int64) -> Int64:
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)
