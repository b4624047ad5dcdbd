"""Samples that depend on the seed and the records' ids alone, whatever the order of the records."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Sample(Generic[Item]):
    """The items of the smallest draws.

    Args:
        size: How many are kept.

    Example:
        >>> sample = Sample(2)
        >>> for draw, item in [(5, "a"), (1, "b"), (9, "c"), (3, "d")]:
        ...     if sample.wants(draw):
        ...         sample.add(draw, item)
        >>> sample.items()
        ['b', 'd']
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, int, Item]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def wants(self, draw: int) -> bool:
        """Whether an item of this draw would be kept, as far as is known yet."""
        return len(self._heap) < self._size or draw < -self._heap[0][0]

    def add(self, draw: int, item: Item) -> None:
        """Add an item that is wanted."""
        self._count += 1
        entry = (-draw, -self._count, item)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[Item]:
        """Return the items, by draw."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1]))]
