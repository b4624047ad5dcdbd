"""Counting what is commonest, with little kept of each thing that is counted."""

from __future__ import annotations

from typing import NamedTuple


class Most(NamedTuple):
    """The commonest of the things counted.

    Attributes:
        share: Of all that were counted.
        times: How often it was counted.
        example: As it was shown when it came the second time; empty if nothing did.
    """

    share: float
    times: int
    example: str


class Commonest:
    """Counts texts by their hash, so that a long one costs no more than a short one.

    Example:
        >>> counts = Commonest()
        >>> for text in ("a", "b", "a", "a"):
        ...     counts.add(text)
        >>> counts.most()
        Most(share=0.75, times=3, example='a')
    """

    def __init__(self) -> None:
        self.total = 0
        self._counts: dict[int, int] = {}
        self._examples: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, text: str) -> None:
        """Count a text."""
        key = hash(text)
        count = self._counts.get(key, 0) + 1
        self._counts[key] = count
        self.total += 1
        if count == 2:
            self._examples[key] = text[:80]

    def most(self) -> Most:
        """Return the commonest; of several the one that sorts first."""
        if not self._counts:
            return Most(0.0, 0, "")
        count = max(self._counts.values())
        examples = [self._examples[key] for key in self._examples if self._counts[key] == count]
        return Most(count / self.total, count, min(examples, default=""))
