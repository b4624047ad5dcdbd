"""Records as Parquet, for engines that want columns.

What is nested is kept as JSON text. A schema guessed from the data gives every tool call the
arguments of all others, with null for what it lacks, and no longer the ones that it had.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.errors import StoreError
from danlu.records import Record
from danlu.records.lines import record_of
from danlu.workshop.execution.blocks import damaged

BATCH_ROWS = 4096
TEXTS = ("id", "task_type", "source")
NESTED = ("messages", "tools", "responses", "tags", "meta")
"""Columns that hold JSON text; null where a record has nothing."""

_encode = json.JSONEncoder(ensure_ascii=False).encode


class ParquetRecords:
    """A Parquet file of records that is being written.

    Raises:
        StoreError: If pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise StoreError(
                "Parquet needs pyarrow: pip install 'danlu[parquet]'.", where=str(path)
            ) from error
        self._pa = pa
        self._path = path
        names = (*TEXTS[:2], *NESTED[:4], "source", "meta")
        self._schema = pa.schema([(name, pa.string()) for name in names])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, str | None]] = []

    def add(self, record: Record, line: bytes) -> None:
        """Write a record, given also as a line of Danlu's own format."""
        row = json.loads(line)
        for name in NESTED:
            row[name] = _encode(row[name]) if name in row else None
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._flush()

    def close(self) -> int:
        """Bring the file to the disk, and return its size in bytes."""
        self._flush()
        self._writer.close()
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        return self._path.stat().st_size

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._pa.Table.from_pylist(self._rows, self._schema))
            self._rows = []


def read_parquet(path: Path, row_groups: list[int] | None = None) -> Iterator[Record]:
    """Stream the records of a file that ``ParquetRecords`` wrote, of all row groups or some.

    Raises:
        StoreError: If pyarrow is not installed.
        ValueError: If it is not such a file.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise StoreError(
            "Parquet needs pyarrow: pip install 'danlu[parquet]'.", where=str(path)
        ) from error
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=row_groups):
                for row in batch.to_pylist():
                    yield record_of(_row(row))
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError(f"not records of Danlu as Parquet ({error})") from error


def row_groups(path: Path) -> Iterator[RowGroup]:
    """Return the blocks of a file that ``ParquetRecords`` wrote."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for number in range(file.metadata.num_row_groups):
            yield RowGroup(path, number)


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The records of a row group."""

    path: Path
    number: int

    def records(self) -> Iterator[Record]:
        """Read them.

        Raises:
            StoreError: If pyarrow is not installed, or the file is not as it was written.
        """
        try:
            yield from read_parquet(self.path, [self.number])
        except ValueError as error:
            raise damaged(str(error), self.path) from error


def _row(columns: dict[str, str | None]) -> dict[str, Any]:
    return {
        name: json.loads(text) if name in NESTED else text
        for name, text in columns.items()
        if text is not None
    }
