"""The executor: who applies a function to blocks; the plainest does it itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Applies a function to items, wherever that may be."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results in the order of the items; few are held at a time.

        Args:
            function: What it returns depends on the item alone. It is copied to other processes by
                pickle, once for each.
            items: Likewise, each once.

        Raises:
            Exception: What the function raises, for the first item for which it does.
        """


class Here:
    """Does the work in this process, one item after another."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply the function to each item."""
        return map(function, items)


HERE = Here()
