"""The files of a version that is being made, and what is counted on the way."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from danlu.records import Record
from danlu.records.lines import encode_record
from danlu.workshop.store.decision import Decision, Fate
from danlu.workshop.store.ledger import encode_entry
from danlu.workshop.store.manifest import FileFormat, RuleCount, TypeCounts

BUFFER_BYTES = 1 << 20
LEDGER = "ledger.jsonl"
FATES: tuple[Fate, ...] = ("kept", "dropped", "edited", "made")


class RecordsFile(Protocol):
    """A file of records that is being written."""

    def add(self, record: Record, line: bytes) -> None:
        """Write a record, given also as a line of Danlu's own format."""

    def close(self) -> int:
        """Bring the file to the disk, and return its size in bytes."""


class VersionWriter:
    """Writes records and ledger into a folder that nobody else sees yet.

    Used as a context manager; leaving it brings both files to the disk.

    Attributes:
        records: Written so far.
        characters: Of their messages and responses.
        bytes: Size of the file of records, once it is closed.
    """

    def __init__(self, folder: Path, file_format: FileFormat) -> None:
        self.records = 0
        self.characters = 0
        self.bytes = 0
        self._content = hashlib.blake2b(digest_size=16)
        self._sizes: dict[str, list[int]] = {}  # task type: records, characters
        self._fates: Counter[tuple[str, Fate, str]] = Counter()
        self._file = open_records(folder, file_format)
        self._ledger = (folder / LEDGER).open("wb", buffering=BUFFER_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bytes = self._file.close()
        close_whole(self._ledger)

    def add(self, decision: Decision) -> None:
        """Write a row of the ledger and, unless it is dropped, the record.

        Raises:
            RecordError: If the record is not whole.
        """
        record, entry = decision
        self._ledger.write(encode_entry(entry))
        self._fates[entry.task_type, entry.fate, entry.rule] += 1
        if entry.fate == "dropped":
            return
        line = encode_record(record)
        self._file.add(record, line)
        self._content.update(line)
        size = characters(record)
        self.records += 1
        self.characters += size
        counts = self._sizes.setdefault(record.task_type, [0, 0])
        counts[0] += 1
        counts[1] += size

    def content(self) -> str:
        """Return the fingerprint of the records."""
        return self._content.hexdigest()

    def task_types(self) -> dict[str, TypeCounts]:
        """Return the counts by task type, in the order of their names."""
        found: dict[str, TypeCounts] = {}
        names = {task_type for task_type, _, _ in self._fates} | self._sizes.keys()
        for name in sorted(names):
            fates: dict[Fate, int] = {}
            for (task_type, fate, _), count in self._fates.items():
                if task_type == name:
                    fates[fate] = fates.get(fate, 0) + count
            records, size = self._sizes.get(name, (0, 0))
            ordered = {fate: fates[fate] for fate in FATES if fate in fates}
            found[name] = TypeCounts(records=records, characters=size, fates=ordered)
        return found

    def rules(self) -> list[RuleCount]:
        """Return the counts by fate and rule."""
        counts: Counter[tuple[Fate, str]] = Counter()
        for (_, fate, rule), count in self._fates.items():
            counts[fate, rule] += count
        return [
            RuleCount(fate=fate, rule=rule, count=counts[fate, rule])
            for fate, rule in sorted(counts, key=lambda key: (FATES.index(key[0]), key[1]))
        ]


def characters(record: Record) -> int:
    """Count the characters of a record's messages and responses.

    Example:
        >>> from danlu.records import Message
        >>> characters(Record("1", "a/b", (Message("user", "你好"), Message("assistant", "Hi!"))))
        5
    """
    size = sum([len(message.content) for message in record.messages if message.content])
    if record.responses:
        size += sum([len(response.content) for response in record.responses])
    return size


def open_records(folder: Path, file_format: FileFormat) -> RecordsFile:
    """Begin a file of records in a folder."""
    path = folder / f"records.{file_format}"
    if file_format == "jsonl":
        return _JsonLines(path)
    from danlu.workshop.store.parquet import ParquetRecords

    return ParquetRecords(path)


class _JsonLines:
    """Records as lines of Danlu's own format."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=BUFFER_BYTES)

    def add(self, record: Record, line: bytes) -> None:
        self._file.write(line)

    def close(self) -> int:
        size = self._file.tell()
        close_whole(self._file)
        return size


def close_whole(file: BinaryIO) -> None:
    """Close a file whose content is on the disk."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
