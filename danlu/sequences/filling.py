"""Which branches go into which pack: as few packs as hold them, and of about one size.

Branches lie sorted by their tokens, so that neighbours share the longest prefixes. A pack is any
selection of them in that order; what a pack shares with another is computed in both. Packs of one
size need the least memory at once, and fewer packs read the weights less often.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise

Places = list[int]
"""Places in the sorted order, ascending."""

_WORTH_SHARING = 8
"""Neighbours that share more than a pack's size over this are kept together."""

_TRIES = 4
"""Numbers of packs that are tried, from the fewest there could be."""


def fill(
    lengths: Sequence[int],
    shared: Sequence[int],
    begins: Sequence[bool],
    limit: int,
    parts: int = 1,
) -> list[Places]:
    """Deal sorted branches to packs.

    Args:
        lengths: Tokens of each branch.
        shared: Tokens that each shares with the one before it; 0 for the first.
        begins: Where a pack may begin.
        limit: Most unique tokens of a pack. What may not be cut is kept whole, if it is longer.
        parts: At least this many packs, where they can be cut into as many.

    Returns:
        The places of each pack; each place is in one of them.

    Example:
        >>> fill([6, 6, 4, 4], [0, 0, 0, 0], [True] * 4, 10)
        [[0, 2], [1, 3]]
    """
    if not lengths:
        return []
    forest = _Forest(lengths, shared, begins)
    unique = forest.size(list(range(len(lengths))))
    cut = min(limit, max(1, -(-unique // parts))) if parts > 1 else limit
    in_order = forest.cut_in_order(range(len(lengths)), cut)
    units = [
        piece
        for unit in forest.units(limit // _WORTH_SHARING)
        for piece in forest.cut_in_order(unit, cut)
    ]
    most = max(limit, *map(forest.size, in_order))
    alone = sum(2 * forest.size(unit) > limit for unit in units)
    fewest = max(-(-unique // limit), alone, parts)
    for number in [*range(fewest, len(in_order))[:_TRIES], len(in_order)]:
        if number <= len(units):
            even = forest.deal(units, number)
            if max(map(forest.size, even)) <= most:
                return even
    return in_order


class _Forest:
    """Sorted branches, and how many tokens a selection of them is."""

    def __init__(
        self, lengths: Sequence[int], shared: Sequence[int], begins: Sequence[bool]
    ) -> None:
        self.lengths, self.shared, self.begins = lengths, shared, begins

    def common(self, before: int, after: int) -> int:
        """Return how many tokens the branches at two places share."""
        return min(self.shared[before + 1 : after + 1])

    def size(self, places: Sequence[int]) -> int:
        """Return the unique tokens of the branches at some places, ascending."""
        whole = sum(self.lengths[place] for place in places)
        return whole - sum(self.common(*two) for two in pairwise(places))

    def units(self, worth: int) -> Iterator[range]:
        """Cut where a pack may begin and neighbours share at most ``worth`` tokens."""
        places = range(1, len(self.lengths))
        cuts = [place for place in places if self.begins[place] and self.shared[place] <= worth]
        for start, stop in pairwise([0, *cuts, len(self.lengths)]):
            yield range(start, stop)

    def cut_in_order(self, places: range, limit: int) -> list[Places]:
        """Fill packs one after another."""
        inner = [place for place in places[1:] if self.begins[place]]
        packs: list[Places] = []
        pack: Places = []
        size = 0
        for start, stop in pairwise([places.start, *inner, places.stop]):
            added = sum(self.lengths[start:stop]) - sum(self.shared[start + 1 : stop])
            shared = self.shared[start] if pack else 0
            if pack and size + added - shared > limit:
                packs.append(pack)
                pack, size, shared = [], 0, 0
            pack.extend(range(start, stop))
            size += added - shared
        return [*packs, pack]

    def deal(self, units: Sequence[Places], number: int) -> list[Places]:
        """Give each unit, the largest first, to the pack that is smallest with it."""
        packs = [_Filling(self) for _ in range(number)]
        sizes = [self.size(unit) for unit in units]
        for unit in sorted(range(len(units)), key=lambda unit: -sizes[unit]):
            grown = [pack.size_with(units[unit], sizes[unit]) for pack in packs]
            chosen = packs[grown.index(min(grown))]
            chosen.add(units[unit], min(grown))
        return [pack.places() for pack in packs if pack.units]


class _Filling:
    """A pack that is being filled with units, kept in their order."""

    def __init__(self, forest: _Forest) -> None:
        self.forest = forest
        self.units: list[Places] = []
        self.size = 0

    def size_with(self, unit: Places, size: int) -> int:
        """Return the size with one more unit."""
        spot = bisect_left(self.units, unit)
        before = self.units[spot - 1][-1] if spot else None
        after = self.units[spot][0] if spot < len(self.units) else None
        grown = self.size + size
        if before is not None:
            grown -= self.forest.common(before, unit[0])
        if after is not None:
            grown -= self.forest.common(unit[-1], after)
        if before is not None and after is not None:
            grown += self.forest.common(before, after)
        return grown

    def add(self, unit: Places, size: int) -> None:
        """Take a unit in; ``size`` is what ``size_with`` said."""
        self.units.insert(bisect_left(self.units, unit), unit)
        self.size = size

    def places(self) -> Places:
        """Return all places, ascending."""
        return [place for unit in self.units for place in unit]
