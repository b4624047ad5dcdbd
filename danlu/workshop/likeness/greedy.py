"""Going through things in order and keeping each that is like none kept before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from danlu.workshop.likeness.overlap import Bool, Int64

Float64 = NDArray[np.float64]

_FIRST_BLOCK, _LARGEST_BLOCK = 256, 4096


class Alike(NamedTuple):
    """Pairs of things that are alike, ``left`` before ``right``, and how much."""

    left: Int64
    right: Int64
    value: Float64


class Finder(Protocol):
    """Finds all pairs that meet a limit, exactly."""

    def alike(self, start: int, stop: int, first: int, last: int | None) -> Iterator[Alike]:
        """Find the pairs whose right thing is in ``start:stop``, in portions.

        The left thing is in ``first:last``, and always before the right one; None asks no more.
        """

    def drop(self, alive: Bool) -> None:
        """Forget things as left ones."""


class Nearest(NamedTuple):
    """Of each thing, what it is most like among those kept before it.

    Attributes:
        partner: The earliest of the most alike; -1 where none meets the limit.
        value: How much; 0 without a partner.
        kept: Whether it is kept.
    """

    partner: Int64
    value: Float64
    kept: Bool


def keep_unlike(
    count: int,
    finders: Sequence[Finder],
    *,
    aside: Bool | None = None,
    given: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Nearest:
    """Keep each thing that is like none kept before it.

    The result is that of comparing each with every one kept before it, one by one. It is reached
    block by block: a block is held against all that was kept before it, and what is left of it
    against itself.

    Args:
        count: How many things there are, in order.
        finders: Each finds some of the pairs; together all.
        aside: ``(count,)``: things that are kept whatever they are like, and that nothing else is
            held against; their partners are found all the same.
        given: So many at the beginning are kept without being compared.
        progress: Told how many are done.
    """
    partner, value = np.full(count, -1, np.int64), np.zeros(count)
    kept = np.ones(count, np.bool_)
    apart = np.zeros(count, np.bool_) if aside is None else aside
    _drop(finders, ~apart)
    start, size = given, _FIRST_BLOCK
    while start < count:
        stop = min(count, start + size)
        for found in _all(finders, start, stop, 0, start):
            note_nearest(found, partner, value)
        block = slice(start, stop)
        kept[block] = (partner[block] < 0) | apart[block]
        _drop(finders, kept & ~apart)
        _settle(list(_all(finders, start, stop, start, None)), partner, value, kept, apart)
        _drop(finders, kept & ~apart)
        progress(stop)
        start, size = stop, min(2 * size, _LARGEST_BLOCK)
    return Nearest(partner, value, kept)


def groups(
    count: int, finders: Sequence[Finder], progress: Callable[[int], None] = lambda done: None
) -> Int64:
    """Number things so that two that are alike, directly or by way of others, have one number.

    Returns:
        ``(count,)``: for each the first of its group.
    """
    root = np.arange(count)

    def find(thing: int) -> int:
        while root[thing] != thing:
            root[thing] = root[root[thing]]
            thing = int(root[thing])
        return thing

    for start in range(0, count, _LARGEST_BLOCK):
        stop = min(count, start + _LARGEST_BLOCK)
        for found in _all(finders, start, stop, 0, None):
            for left, right in zip(found.left.tolist(), found.right.tolist(), strict=True):
                first, second = sorted((find(left), find(right)))
                root[second] = first
        progress(stop)
    return np.array([find(thing) for thing in range(count)], np.int64)


def _all(
    finders: Sequence[Finder], start: int, stop: int, first: int, last: int | None
) -> Iterator[Alike]:
    for finder in finders:
        yield from finder.alike(start, stop, first, last)


def _drop(finders: Sequence[Finder], alive: Bool) -> None:
    for finder in finders:
        finder.drop(alive)


def note_nearest(found: Alike, partner: Int64, value: Float64) -> None:
    """Take the best of the pairs found, and of what is known, for each right thing.

    Args:
        found: Pairs.
        partner: ``(R,)``: the earliest of the most alike so far, or -1; written to.
        value: ``(R,)``: how much; written to.
    """
    order = np.lexsort((found.left, -found.value, found.right))
    right = found.right[order]
    best = order[np.concatenate([[True], right[1:] != right[:-1]])] if len(order) else order
    left, right, measured = found.left[best], found.right[best], found.value[best]
    better = (measured > value[right]) | (
        (measured == value[right]) & ((partner[right] < 0) | (left < partner[right]))
    )
    partner[right[better]], value[right[better]] = left[better], measured[better]


def _settle(inside: list[Alike], partner: Int64, value: Float64, kept: Bool, apart: Bool) -> None:
    """Decide within a block: whether a pair counts depends on whether its left one is kept."""
    if not inside:
        return
    left, right, measured = (np.concatenate(part) for part in zip(*inside, strict=True))
    order = np.lexsort((left, right))
    for one, other, much in zip(
        left[order].tolist(), right[order].tolist(), measured[order].tolist(), strict=True
    ):
        if not kept[one]:
            continue
        if partner[other] < 0 or much > value[other]:
            partner[other], value[other] = one, much
        elif much == value[other] and one < partner[other]:
            partner[other] = one
        kept[other] = bool(apart[other])
