"""From sources to records, one at a time, whatever the size of the files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from danlu.errors import RecordError
from danlu.records.files import rows
from danlu.records.formats import Format, by_name, check_columns
from danlu.records.ids import IdClashError, Ids
from danlu.records.json_rows import RawRow
from danlu.records.record import Record
from danlu.records.rows import RowReader
from danlu.records.source import DataFile, Source, expand

OnBadRecord = Literal["stop", "skip"]


def read_records(
    sources: Source | str | Path | Sequence[Source | str | Path],
    *,
    on_bad_record: OnBadRecord = "stop",
    rejected: Path | None = None,
) -> Reading:
    """Read the records of sources, one after another.

    Args:
        sources: Files, folders, globs or hub datasets; a bare path is one with all defaults.
        on_bad_record: What a broken row does: stop the reading, or be counted and passed over.
            Faults that hide where the next row begins stop it in either case.
        rejected: JSONL file to which rows passed over are added: ``file``, ``line``, ``reason``
            and ``text``. What it held before stays.

    Returns:
        An iterator that can be gone through once, and counts.

    Raises:
        RecordError: If a source is not there, or its settings do not fit; while it is gone
            through, if a row is broken or a source holds no record.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "sums.jsonl"
        >>> _ = path.write_text('{"prompt": "1 + 1 =", "completion": "2"}')
        >>> [record] = read_records(path)
        >>> record.task_type, record.messages[1].content
        ('unlabelled/sums', '2')
    """
    if isinstance(sources, Source | str | Path):
        sources = [sources]
    named = [given if isinstance(given, Source) else Source(str(given)) for given in sources]
    return Reading(named, on_bad_record=on_bad_record, rejected=rejected)


class _Plan(NamedTuple):
    """A source with its files found and its format looked up."""

    source: Source
    files: list[DataFile]
    chosen: Format | None


class Reading(Iterator[Record]):
    """Records being read; made by ``read_records``.

    Attributes:
        record_count: Records given so far.
        rejected_count: Broken rows passed over so far.
        passed_over: What folders hold besides data files, by name.
    """

    def __init__(
        self, sources: Sequence[Source], *, on_bad_record: OnBadRecord, rejected: Path | None
    ) -> None:
        self.record_count = 0
        self.rejected_count = 0
        self.passed_over: list[str] = []
        self._skips = on_bad_record == "skip"
        self._rejected = rejected
        self._ids = Ids()
        self._files_read = 0
        self.source_number = 0
        self._records = self._read([self._plan(source) for source in sources])

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Record:
        return next(self._records)

    def _plan(self, source: Source) -> _Plan:
        try:
            chosen = by_name(source.format)
            check_columns(source.columns, chosen)
        except RecordError as error:
            raise RecordError(error.message, where=source.path) from error
        files, passed_over = expand(source)
        self.passed_over += passed_over
        return _Plan(source, files, chosen)

    def _read(self, plans: Sequence[_Plan]) -> Iterator[Record]:
        for number, plan in enumerate(plans):
            self.source_number = number
            before, rejected_before = self.record_count, self.rejected_count
            for record in self._read_source(plan):
                self.record_count += 1
                yield record
                if self.record_count - before == plan.source.limit:
                    break
            # A file in Danlu's own format, named as such, may be one that Danlu has left empty.
            if self.record_count == before and plan.source.format != "danlu":
                broken = self.rejected_count - rejected_before
                told = f" All {broken} rows are broken." if broken else ""
                raise RecordError(f"there is no record in it.{told}", where=plan.source.path)

    def _read_source(self, plan: _Plan) -> Iterator[Record]:
        lacking = set(plan.source.columns.values())
        for file in plan.files:
            reader = RowReader(file, plan.source, plan.chosen)
            yield from self._read_file(reader)
            lacking -= reader.seen_columns
        if lacking:
            raise RecordError(
                f"columns names {min(lacking)!r}, which no row has. Correct the name, or take it "
                "out.",
                where=plan.source.path,
            )

    def _read_file(self, reader: RowReader) -> Iterator[Record]:
        file, number = reader.file, self._files_read
        self._files_read += 1
        for row in rows(file, reader.source.split):
            try:
                records = reader.read(row, self._ids, number)
            except RecordError as error:
                if not self._skips:
                    message = _with_first_place(error, reader)
                    raise RecordError(message, where=f"{file.name}:{row.line}") from error
                self.rejected_count += 1
                self._reject(file, row, error.message)
                continue
            yield from records

    def _reject(self, file: DataFile, row: RawRow, reason: str) -> None:
        if self._rejected is None:
            return
        text = json.dumps(row.value, ensure_ascii=False) if row.text is None else row.text
        told = {"file": file.name, "line": row.line, "reason": reason, "text": text}
        self._rejected.parent.mkdir(parents=True, exist_ok=True)
        with self._rejected.open("a", encoding="utf-8") as out:
            out.write(json.dumps(told, ensure_ascii=False) + "\n")


def _with_first_place(error: RecordError, reader: RowReader) -> str:
    """Return the message; where two ids clash, with the place of the first, found by going back."""
    if isinstance(error, IdClashError):
        for row in rows(reader.file, reader.source.split):
            if reader.given_id(row) == error.name:
                return IdClashError(error.name, f"{reader.file.name}:{row.line}").message
    return error.message
