"""Which bags of tokens share enough: an exact join, without comparing every pair.

Two bags (multisets) of a and b tokens that share o of them are alike by Jaccard o / (a + b - o), or
by F1 2o / (a + b). Either way a limit asks for a least overlap that depends on a + b alone. From it
follow the filters that leave few pairs to be measured, and none out:

- Prefix (Chaudhuri et al. 2006; Bayardo et al. 2007): with all tokens in one order, rarest first,
  two bags that share t or more also share one among the first a - t + 1 of the one and the first
  b - t + 1 of the other. Only those are looked up.
- Position (PPJoin, Xiao et al. 2008, doi:10.1145/1367497.1367516): the first shared token cannot be
  followed by more shared ones than tokens are left in either bag.
- Bitmap (Sandes et al. 2020): the bits in which two parity bitmaps differ are at most the tokens
  that the bags do not share.

Shapes: R bags, T tokens of all bags, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_MOST_BUCKET_BITS = 22
_OWNER_BITS = 32
_OWNER = (1 << _OWNER_BITS) - 1
_NEVER = 1 << 30
_TOUCHES = 1 << 19
"""Looked-up places that are held in memory at a time."""


@dataclass(frozen=True)
class Bags:
    """Bags of tokens, one after another.

    Attributes:
        offsets: ``(R + 1,)``: where each bag begins and ends.
        tokens: ``(T,)``: what is compared; equal numbers are the same token.
    """

    offsets: Int64
    tokens: Int64

    @classmethod
    def of(cls, bags: list[list[int]]) -> Bags:
        """Lay lists of tokens one after another.

        Example:
            >>> Bags.of([[7, 7], [], [8]]).offsets.tolist()
            [0, 2, 2, 3]
        """
        offsets = np.zeros(len(bags) + 1, np.int64)
        np.cumsum([len(bag) for bag in bags], out=offsets[1:])
        flat = (token for bag in bags for token in bag)
        return cls(offsets, np.fromiter(flat, np.int64, int(offsets[-1])))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Int64:
        """``(R,)``: tokens of each bag."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Int64:
        """``(T,)``: the bag of each token."""
        return np.repeat(np.arange(len(self)), self.sizes)


@dataclass(frozen=True)
class Limit:
    """How much two bags must share.

    Attributes:
        need: ``need[s]`` is the least overlap of two bags that have s tokens together.
        ratio: A bag of a tokens meets the limit with none that has fewer than ``ratio * a - 1``.
    """

    need: Int64
    ratio: float

    @classmethod
    def jaccard(cls, at_least: float, largest: int) -> Limit:
        """Ask for a Jaccard similarity, among bags of at most ``largest`` tokens.

        Example:
            >>> Limit.jaccard(0.5, 3).need.tolist()  # of 3 and 3 tokens, 2 shared are 2/4
            [1, 1, 1, 1, 2, 2, 2]
        """
        total = np.arange(2 * largest + 1)
        guess = np.floor(total * (at_least / (1 + at_least))).astype(np.int64)
        need = np.full_like(total, _NEVER)
        for shared in (guess + 2, guess + 1, guess, guess - 1):
            met = shared / np.maximum(total - shared, 1) >= at_least
            need = np.where(met & (shared >= 1), shared, need)
        need[0] = 1
        return cls(need, at_least)

    @classmethod
    def f1(cls, above: float, largest: int) -> Limit:
        """Ask for an F1 above a limit, among bags of at most ``largest`` tokens.

        Example:
            >>> Limit.f1(0.7, 10).need.tolist()[-1]  # of 10 and 10 tokens, 7 shared are not above
            8
        """
        total = np.arange(2 * largest + 1)
        guess = np.floor(total * (above / 2)).astype(np.int64)
        need = np.full_like(total, _NEVER)
        for shared in (guess + 2, guess + 1, guess, guess - 1):
            met = 2 * shared / np.maximum(total, 1) > above
            need = np.where(met & (shared >= 1), shared, need)
        need[0] = 1
        return cls(need, above / (2 - above))

    def prefixes(self, sizes: Int64) -> Int64:
        """Return how many of its rarest tokens stand for each bag; ``(R,)``."""
        smallest = np.maximum(np.floor(sizes * self.ratio).astype(np.int64) - 1, 0)
        found: Int64 = np.maximum(sizes - self.need[sizes + smallest] + 1, 0)
        return found


class Pairs(NamedTuple):
    """Two bags each: ``left`` comes before ``right``."""

    left: Int64
    right: Int64


class Join:
    """An index of bags that finds the pairs that may meet a limit, and all that do.

    Args:
        bags: In the order in which left and right are meant.
        limit: What a pair must share.
        group: ``(R,)``: only bags of one group are compared; None puts all into one.
    """

    def __init__(self, bags: Bags, limit: Limit, group: Int64 | None = None) -> None:
        self._need, self._sizes = limit.need.astype(np.int32), bags.sizes
        self._group = np.zeros(len(bags), np.int64) if group is None else group
        bucket = _buckets(bags, self._group)
        self._bitmaps = _bitmaps(bags, bucket)
        prefixes = limit.prefixes(self._sizes)
        rarity = _rarest_first(bags, bucket)
        place = np.arange(len(rarity)) - np.repeat(bags.offsets[:-1], self._sizes)
        inside = place < np.repeat(prefixes, self._sizes)
        # Probes: the prefix of each bag, bag by bag, and how many tokens are left from there on.
        self._starts = np.concatenate([[0], np.cumsum(prefixes)])
        self._probe_token = rarity[inside] << _OWNER_BITS
        self._probe_owner = np.repeat(np.arange(len(bags)), prefixes)
        self._probe_left = (self._sizes[self._probe_owner] - place[inside]).astype(np.int32)
        # Postings: the same, token by token, and for each token in the bags' order.
        keys = self._probe_token | self._probe_owner
        order = np.argsort(keys)
        self._keys, self._left = keys[order], self._probe_left[order]
        self._size = self._sizes[self._keys & _OWNER].astype(np.int32)

    def drop(self, alive: Bool) -> None:
        """Forget bags as left ones; ``alive`` is ``(R,)``."""
        kept = alive[self._keys & _OWNER]
        if not kept.all():
            self._keys, self._left = self._keys[kept], self._left[kept]
            self._size = self._size[kept]

    def pairs(
        self, start: int, stop: int, first: int = 0, last: int | None = None
    ) -> Iterator[Pairs]:
        """Find candidates, in portions.

        Args:
            start: First right bag.
            stop: One beyond the last right bag.
            first: First left bag.
            last: One beyond the last left bag; None goes up to the right one.

        Yields:
            Pairs that may meet the limit; every pair that does is in some portion.
        """
        low, high = self._starts[start], self._starts[stop]
        token, owner = self._probe_token[low:high], self._probe_owner[low:high]
        begins = np.searchsorted(self._keys, token | first)
        ends = np.searchsorted(self._keys, token | (owner if last is None else last))
        counts = np.maximum(ends - begins, 0)
        reached = np.concatenate([[0], np.cumsum(counts)])
        at = 0
        while at < len(token):
            to = int(np.searchsorted(reached, reached[at] + _TOUCHES, side="right")) - 1
            to = max(to, at + 1)
            if reached[to] > reached[at]:
                portion = slice(at, to)
                yield self._candidates(begins[portion], counts[portion], low + at)
            at = to

    def _candidates(self, begins: Int64, counts: Int64, probe: int) -> Pairs:
        ahead = np.cumsum(counts) - counts
        place = np.arange(int(counts.sum())) + np.repeat(begins - ahead, counts)
        probes = slice(probe, probe + len(counts))
        owner = self._probe_owner[probes]
        size = self._sizes[owner].astype(np.int32)
        most = np.minimum(self._left[place], np.repeat(self._probe_left[probes], counts))
        total = self._size[place] + np.repeat(size, counts)
        passed = np.flatnonzero(most >= self._need[total])
        left, right = self._keys[place[passed]] & _OWNER, np.repeat(owner, counts)[passed]
        total = total[passed]
        spare = total - 2 * self._need[total]  # so many tokens may be in only one of the two
        for word in self._bitmaps:
            spare = spare - np.bitwise_count(word[left] ^ word[right])
            passed = np.flatnonzero(spare >= 0)
            left, right, spare = left[passed], right[passed], spare[passed]
        same = self._group[left] == self._group[right]
        pair = np.unique(right[same] << _OWNER_BITS | left[same])
        return Pairs(pair & _OWNER, pair >> _OWNER_BITS)


def shared(bags: Bags, pairs: Pairs) -> Int64:
    """Count what each pair shares, where no bag has a token twice; ``(P,)``.

    Tokens must be less than 2**42.
    """
    found = np.zeros(len(pairs.left), np.int64)
    sizes = bags.sizes
    reached = np.cumsum(sizes[pairs.left] + sizes[pairs.right])
    at = 0
    while at < len(found):
        done = int(reached[at - 1]) if at else 0
        to = int(np.searchsorted(reached, done + _TOUCHES, side="right"))
        to = max(to, at + 1)
        number = np.arange(to - at)
        both = np.sort(
            np.concatenate(
                [
                    np.repeat(number, sizes[side[at:to]]) << 42 | gather(bags, side[at:to])
                    for side in pairs
                ]
            )
        )
        twice = both[1:][both[1:] == both[:-1]] >> 42
        found[at:to] = np.bincount(twice, minlength=to - at)
        at = to
    return found


def gather(bags: Bags, chosen: Int64) -> Int64:
    """Return the tokens of the chosen bags, one bag after another."""
    begins, sizes = bags.offsets[chosen], bags.sizes[chosen]
    ahead = np.cumsum(sizes) - sizes
    found: Int64 = bags.tokens[np.arange(int(sizes.sum())) + np.repeat(begins - ahead, sizes)]
    return found


def _buckets(bags: Bags, group: Int64) -> Int64:
    """Spread the tokens of each group over about four buckets for each (Fibonacci hashing).

    Two tokens in one bucket count as the same in the filters, which then let more pairs pass.
    """
    bits = min(len(bags.tokens).bit_length() + 2, _MOST_BUCKET_BITS)
    apart = np.repeat(group.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93), bags.sizes)
    mixed = (bags.tokens.astype(np.uint64) + apart) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(64 - bits)).astype(np.int64)


def _rarest_first(bags: Bags, bucket: Int64) -> Int64:
    """Order the tokens of each bag by how many there are of their bucket, in sixteenths of octaves.

    Returns:
        ``(T,)``: a number per token, below 2**31, that is the same for the same bucket.
    """
    common = np.bincount(bucket)
    level = (16 * np.log2(np.maximum(common, 1))).astype(np.int64)  # below 512 up to 2**31 tokens
    keys = np.sort(bags.owners << 31 | level[bucket] << _MOST_BUCKET_BITS | bucket)
    return keys & ((1 << 31) - 1)


def _bitmaps(bags: Bags, bucket: Int64) -> list[NDArray[np.uint64]]:
    """Flip a bit for each token, of about four for each of the average bag: W words of ``(R,)``."""
    mean = len(bags.tokens) / max(1, len(bags))
    words = int(2 ** np.clip(np.ceil(np.log2(max(1.0, mean / 16))), 0, 4))
    bits = np.zeros(len(bags) * words, np.uint64)
    place = bucket % (64 * words)
    flips = np.uint64(1) << (place % 64).astype(np.uint64)
    np.bitwise_xor.at(bits, bags.owners * words + place // 64, flips)
    return list(np.ascontiguousarray(bits.reshape(len(bags), words).T))
