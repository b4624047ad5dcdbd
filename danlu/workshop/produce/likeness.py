"""How like a new text is to those that are there: what makers need of a novelty filter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from danlu.workshop.text import fold, units


class Nearest(NamedTuple):
    """The text most like another.

    Attributes:
        value: How like, from 0 to 1.
        name: Its name; None if there is no text.
    """

    value: float
    name: str | None


class Pool(Protocol):
    """Texts that are there."""

    def nearest(self, text: str) -> Nearest:
        """Find the text most like this one."""

    def add(self, name: str, text: str) -> None:
        """Add a text."""


class RougePool:
    """Texts compared by the F1 of ROUGE-L over units, folded; exact.

    F1 = 2 LCS / (m + n) for texts of m and n units. Since the longest common subsequence has at
    most min(m, n) units, texts of very other lengths are passed over.

    Example:
        >>> pool = RougePool([("1", "今天天气怎么样？")])
        >>> pool.nearest("今天天气怎么样")
        Nearest(value=1.0, name='1')
        >>> round(pool.nearest("明天天气好吗").value, 2)
        0.46
    """

    def __init__(self, texts: Iterable[tuple[str, str]] = ()) -> None:
        self._names: list[str] = []
        self._units: list[list[str]] = []
        for name, text in texts:
            self.add(name, text)

    def nearest(self, text: str) -> Nearest:
        """Find the text most like this one; the first of equals."""
        from rapidfuzz.distance import LCSseq

        new = units(fold(text))
        best = Nearest(0.0, self._names[0] if self._names else None)
        for name, old in zip(self._names, self._units, strict=True):
            total = len(new) + len(old)
            if not total or 2 * min(len(new), len(old)) <= best.value * total:
                continue
            value = 2 * LCSseq.similarity(new, old) / total
            if value > best.value:
                best = Nearest(value, name)
        return best

    def add(self, name: str, text: str) -> None:
        """Add a text."""
        self._names.append(name)
        self._units.append(units(fold(text)))
