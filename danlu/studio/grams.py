"""Which blocks of a text may hold what is sought, so that a search reads few of them.

A text of many records is cut into blocks of about ``BLOCK_BYTES`` at the ends of records. Of each
block is kept which stretches of four bytes it has, hashed to 16 bits: a signature of ``SIGNATURE``
bits (Bloom 1970, with one hash). A block can hold what is sought only if it has all its stretches
of four; so no record is missed, and a block that is read in vain costs time and nothing else.

::

    grams.bin   for each eight blocks, one byte per hash: bit 7 for the first block, bit 0 the last
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 16
GRAM_BYTES = 4
SIGNATURE = 1 << 16
PER_ROW = 8
SLICE_BYTES = 1 << 20
"""Of a long record, so much is hashed at a time."""
_FACTOR = np.uint32(2654435761)  # Knuth's, of multiplicative hashing


def hashes(text: bytes | mmap.mmap) -> NDArray[np.uint32]:
    """Return the hash of each stretch of four bytes; none of a shorter text."""
    one = np.frombuffer(text, np.uint8).astype(np.uint32)
    last = len(one) - GRAM_BYTES + 1
    if last < 1:
        return np.empty(0, np.uint32)
    joined = one[:last].copy()
    for at in range(1, GRAM_BYTES):
        joined |= one[at : at + last] << np.uint32(8 * at)
    found: NDArray[np.uint32] = (joined * _FACTOR) >> np.uint32(16)
    return found


def borders(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of a text at which blocks begin, and its end.

    Args:
        ends: Where records end, after a 0; each block ends with a record.

    Example:
        >>> borders(np.array([0, 40_000, 70_000, 80_000])).tolist()
        [0, 70000, 80000]
    """
    found, length = [0], int(ends[-1])
    while found[-1] < length:
        at = int(np.searchsorted(ends, found[-1] + BLOCK_BYTES))
        found.append(int(ends[min(at, len(ends) - 1)]))
    return np.asarray(found)


def write_grams(path: Path, text: Path, ends: NDArray[np.int64]) -> None:
    """Write the signatures of a text.

    Args:
        path: Where to.
        text: The text.
        ends: As for ``borders``.
    """
    marks = borders(ends).tolist()
    with path.open("wb") as file, text.open("rb") as source:
        for first in range(0, len(marks) - 1, PER_ROW):
            row = np.zeros((PER_ROW, SIGNATURE), bool)
            inside = marks[first : first + PER_ROW + 1]
            for place, size in enumerate(np.diff(inside).tolist()):
                for part in _slices(source.read(size)):
                    row[place, hashes(part)] = True
            file.write(np.packbits(row, axis=0).tobytes())


def _slices(text: bytes) -> Iterator[bytes]:
    """Yield a text in parts that share three bytes, so that no stretch of four is lost."""
    for first in range(0, max(1, len(text)), SLICE_BYTES):
        yield text[first : first + SLICE_BYTES + GRAM_BYTES - 1]


class Grams:
    """The signatures of a text, mapped.

    Args:
        path: Of ``write_grams``.
        ends: As for ``borders``.
    """

    def __init__(self, path: Path, ends: NDArray[np.int64]) -> None:
        self._borders = borders(ends)
        self._rows = np.empty((0, SIGNATURE), np.uint8)
        if path.stat().st_size:
            self._rows = np.memmap(path, np.uint8, "r").reshape(-1, SIGNATURE)

    def places(self, sought: bytes) -> list[tuple[int, int]]:
        """Return the stretches of the text, from and to, outside of which it cannot be."""
        blocks = len(self._borders) - 1
        wanted = np.unique(hashes(sought))
        if len(wanted):
            all_of = np.bitwise_and.reduce(self._rows[:, wanted], axis=1)
            has = np.unpackbits(all_of)[:blocks].astype(bool)
        else:
            has = np.ones(blocks, bool)
        steps = np.flatnonzero(np.diff(np.concatenate([[False], has, [False]]).astype(np.int8)))
        edges = self._borders[steps].tolist()
        return list(zip(edges[::2], edges[1::2], strict=True))
