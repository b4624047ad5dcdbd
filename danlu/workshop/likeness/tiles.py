"""Going through things in order as ``greedy`` does, with the comparing done elsewhere, in tiles.

A part of the things at a time is held against all that was kept before it, cut into parts too: each
two of them are a tile that can be worked on apart from the others. What is left of the part is
held against itself here. So the work grows with the square of the number as it does in one place,
and nearly all of it is in the tiles; each holds two parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from danlu.workshop.execution.executor import Executor
from danlu.workshop.likeness.greedy import (
    Alike,
    Finder,
    Nearest,
    keep_unlike,
    note_nearest,
)
from danlu.workshop.likeness.overlap import Bags, Bool, Int64, gather

PART = 8192
"""Things on a side of a tile: some seconds of work for short texts."""

Finding = Callable[[Bags], Finder]
"""Makes what finds the pairs among bags; copied to other machines."""


class Tile(NamedTuple):
    """Things that were kept, and later ones that are held against them."""

    kept: Bags
    later: Bags


def nearest_kept(finding: Finding, tile: Tile) -> Alike:
    """Return for the later things of a tile which kept one each is most like, where one is.

    Both are numbered within the tile, each side from 0.
    """
    kept, later = tile
    border = len(kept)
    both = Bags(
        np.concatenate([kept.offsets, later.offsets[1:] + kept.offsets[-1]]),
        np.concatenate([kept.tokens, later.tokens]),
    )
    partner, value = np.full(len(both), -1, np.int64), np.zeros(len(both))
    for found in finding(both).alike(border, len(both), 0, border):
        note_nearest(found, partner, value)
    right = np.flatnonzero(partner >= 0)
    return Alike(partner[right], right - border, value[right])


def keep_unlike_in_tiles(
    bags: Bags,
    finding: Finding,
    executor: Executor,
    *,
    aside: Bool,
    given: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Nearest:
    """Keep each thing that is like none kept before it: the same as ``keep_unlike``.

    Args:
        bags: The things.
        finding: Makes what finds pairs among some of them.
        executor: Works on the tiles.
        aside: As there.
        given: As there.
        progress: Told how many are done.
    """
    count = len(bags)
    partner, value = np.full(count, -1, np.int64), np.zeros(count)
    left = np.flatnonzero(~aside[:given])
    for start in range(given, count, PART):
        own = np.arange(start, min(count, start + PART))
        block = _some(bags, own)
        for found in _held_against(bags, left, block, finding, executor):
            note_nearest(found._replace(right=found.right + start), partner, value)
        # What goes already is held against the others, and they are not held against it.
        inside = keep_unlike(len(own), [finding(block)], aside=aside[own] | (partner[own] >= 0))
        pairs = np.flatnonzero(inside.partner >= 0)
        note_nearest(
            Alike(inside.partner[pairs] + start, pairs + start, inside.value[pairs]), partner, value
        )
        left = np.concatenate([left, own[(partner[own] < 0) & ~aside[own]]])
        progress(start + len(own))
    return Nearest(partner, value, (partner < 0) | aside)


def _held_against(
    bags: Bags,
    left: Int64,
    block: Bags,
    finding: Finding,
    executor: Executor,
) -> Iterator[Alike]:
    """Hold a block against all that was kept; what is found is numbered within the block."""
    work = partial(nearest_kept, finding)
    sides = [left[begin : begin + PART] for begin in range(0, len(left), PART)]
    tiles = (Tile(_some(bags, side), block) for side in sides)
    for side, found in zip(sides, executor.map(work, tiles), strict=True):
        yield found._replace(left=side[found.left])


def _some(bags: Bags, numbers: Int64) -> Bags:
    """Return some of the bags, in the order of the numbers."""
    offsets = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(bags.sizes[numbers], out=offsets[1:])
    return Bags(offsets, gather(bags, numbers))
