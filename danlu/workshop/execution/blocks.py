"""Blocks of records: so much of a dataset as one process works on at a time.

A block of a file says where its records stand and is read by whoever works on it, so that nothing
but its name travels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

from danlu.errors import StoreError
from danlu.records import Record
from danlu.records.lines import decode_record

BLOCK_RECORDS = 512
"""Records of a block that is held in memory."""

BLOCK_BYTES = 1 << 20
"""Bytes of a block of a file, and what is left of its last line."""


class Block(Protocol):
    """Some records, one after another."""

    def records(self) -> Iterator[Record]:
        """Read them."""


@runtime_checkable
class InBlocks(Protocol):
    """Records that are cut into blocks already, as a version in a store is."""

    def blocks(self) -> Iterator[Block]:
        """Return the blocks, in order."""


@dataclass(frozen=True, slots=True)
class Held:
    """Records in memory."""

    held: Sequence[Record]

    def records(self) -> Iterator[Record]:
        """Return them."""
        return iter(self.held)


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines of a file of records.

    Attributes:
        path: The file.
        start: Its first byte.
        stop: The first byte behind it.
        first: How many records stand before it.
        count: How many it has.
    """

    path: Path
    start: int
    stop: int
    first: int
    count: int

    def records(self) -> Iterator[Record]:
        """Read them.

        Raises:
            StoreError: If the file is not as it was written.
        """
        with self.path.open("rb") as file:
            file.seek(self.start)
            lines = file.read(self.stop - self.start).splitlines(keepends=True)
        for number, line in enumerate(lines, start=self.first + 1):
            try:
                yield decode_record(line)
            except ValueError as error:
                raise damaged(str(error), self.path, number) from error


def blocks_of(records: Iterable[Record]) -> Iterator[Block]:
    """Return the blocks of records, which are held one block at a time where they have none.

    Example:
        >>> from danlu.records import Message
        >>> many = [Record(str(n), "a/b", (Message("text", "Hi"),)) for n in range(600)]
        >>> [len(list(block.records())) for block in blocks_of(many)]
        [512, 88]
    """
    if isinstance(records, InBlocks):
        yield from records.blocks()
        return
    rest = iter(records)
    while block := tuple(islice(rest, BLOCK_RECORDS)):
        yield Held(block)


def line_blocks(path: Path, expected: int) -> Iterator[Lines]:
    """Cut a file of records at the ends of lines.

    Args:
        path: The file.
        expected: How many records it should have.

    Raises:
        StoreError: If it has more or fewer.
    """
    first = start = 0
    try:
        with path.open("rb") as file:
            while text := file.read(BLOCK_BYTES):
                text += file.readline() if not text.endswith(b"\n") else b""
                count = text.count(b"\n") + (not text.endswith(b"\n"))
                yield Lines(path, start, start + len(text), first, count)
                start, first = start + len(text), first + count
    except FileNotFoundError as error:
        raise damaged("the file of records is missing", path) from error
    if first != expected:
        raise damaged(f"it has {first:,} records, not {expected:,}", path, first)


def damaged(what: str, path: Path, record: int = 0) -> StoreError:
    """Return an error that says that a file of records is not as it was written."""
    return StoreError(
        f"{what}; the version was changed by hand, or the disk is faulty. Remove the version's "
        "folder and make it again.",
        where=f"{path}:{record}" if record else str(path),
    )
