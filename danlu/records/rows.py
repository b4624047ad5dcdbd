"""From one row of a file to its record, or its records."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from danlu.errors import RecordError
from danlu.records.check import check_messages
from danlu.records.formats import Format, Parts, recognise
from danlu.records.formats.format import kind, take_list
from danlu.records.ids import Ids
from danlu.records.json_rows import RawRow
from danlu.records.record import UNLABELLED, Record
from danlu.records.source import DataFile, Source, called, check_task_type

_check_task_type = lru_cache(maxsize=1024)(check_task_type)


class RowReader:
    """Reads the rows of one file.

    Args:
        file: Which file.
        source: How it is read.
        chosen: The format that the source names; None if rows are recognised by content.

    Attributes:
        seen_columns: Those of the mapping's columns that some row has had.
    """

    def __init__(self, file: DataFile, source: Source, chosen: Format | None) -> None:
        self.file = file
        self.source = source
        self.seen_columns: set[str] = set()
        self._chosen = chosen
        self._called = called(file.name)
        self._mapped = frozenset(source.columns.values())
        self._task_type = source.task_type or f"{UNLABELLED}/{file.stem}"
        self._by_columns: dict[tuple[str, ...], Format] = {}

    def read(self, row: RawRow, ids: Ids, file_number: int) -> list[Record]:
        """Read one row; in all formats but trees it is one record.

        Args:
            row: As it came from the file.
            ids: Names the records.
            file_number: Of this file, within the reading.

        Raises:
            RecordError: If it is broken.
        """
        if row.fault is not None:
            raise RecordError(f"{row.fault}.")
        if not isinstance(row.value, dict):
            raise RecordError(f"the row is {kind(row.value)}; it must be an object.")
        if not self._mapped:
            return self._records(dict(row.value), {}, ids, file_number)
        values, displaced = self._map(row.value)
        try:
            return self._records(values, displaced, ids, file_number)
        except RecordError as error:
            raise self._with_mapping(error, row.value) from error

    def given_id(self, row: RawRow) -> str | None:
        """Return the id that a row carries; None if it has none or is broken."""
        if row.fault is not None or not isinstance(row.value, dict):
            return None
        value = row.value.get(self.source.columns.get("id", "id"))
        return None if value is None else str(value)

    def _records(
        self, values: dict[str, Any], displaced: Mapping[str, Any], ids: Ids, file_number: int
    ) -> list[Record]:
        known = self._chosen or self._recognise(values)
        given = _take_id(values) if "id" in values else None
        task_type = self._take_task_type(values) if "task_type" in values else self._task_type
        tags = _take_tags(values) if "tags" in values else ()
        first = known.parse(values)
        rest = {**values, **displaced} if displaced else values
        if not first.more:
            name = first.id if given is None else given
            return [self._record(first, rest, name, task_type, tags, ids, file_number)]
        records = []
        for number, parts in enumerate((first, *first.more), start=1):
            # A row's own id stands for all of its records; so each adds its number.
            name = parts.id if given is None else f"{given}#{number}"
            records.append(self._record(parts, rest, name, task_type, tags, ids, file_number))
        return records

    def _record(
        self,
        parts: Parts,
        rest: Mapping[str, Any],
        given: str | None,
        task_type: str,
        tags: tuple[str, ...],
        ids: Ids,
        file_number: int,
    ) -> Record:
        """Make a record of its parts, with ``rest`` for what its format does not know."""
        check_messages(parts.messages)
        meta = rest
        if parts.meta:
            if twice := parts.meta.keys() & rest.keys():
                raise RecordError(f"{min(twice)!r} is a column and also in 'meta'; leave one.")
            meta = {**parts.meta, **rest}
        try:
            name = ids.name(given, parts, file_number, self.file.stem)
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise RecordError(
                f"the text holds {half}, half of a character (a surrogate)."
            ) from error
        return Record(
            name,
            task_type,
            parts.messages,
            parts.tools,
            parts.responses,
            tags,
            self._called if parts.source is None else parts.source,
            meta,
        )

    def _recognise(self, values: Mapping[str, Any]) -> Format:
        """Recognise a row; rows with the same columns as an earlier one at once."""
        columns = tuple(values)
        known = self._by_columns.get(columns)
        if known is None or not known.recognise(values):
            known = self._by_columns[columns] = recognise(values)
        return known

    def _map(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Rename columns by the mapping; return also what had the part's name without being it."""
        values = {name: value for name, value in row.items() if name not in self._mapped}
        displaced = {}
        for part, column in self.source.columns.items():
            if column in row:
                self.seen_columns.add(column)
                if part in values:
                    displaced[part] = values[part]
                values[part] = row[column]
        return values, displaced

    def _with_mapping(self, error: RecordError, row: Mapping[str, Any]) -> RecordError:
        lacking = [
            f"{part} to {column!r}"
            for part, column in self.source.columns.items()
            if column not in row
        ]
        if not lacking:
            return error
        error.message += f" columns maps {', '.join(lacking)}, which the row lacks."
        return error

    def _take_task_type(self, values: dict[str, Any]) -> str:
        task_type = values.pop("task_type")
        if task_type is None or task_type == "":
            return self._task_type
        if not isinstance(task_type, str):
            raise RecordError(f"'task_type' is {kind(task_type)}; it must be text, area/skill.")
        _check_task_type(task_type)
        return task_type


def _take_id(values: dict[str, Any]) -> str | None:
    value = values.pop("id")
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RecordError(f"'id' is {value!r}; it must be text or a whole number.")
    return str(value)


def _take_tags(values: dict[str, Any]) -> tuple[str, ...]:
    """Take a list of marks; one mark may stand without a list."""
    tags = values["tags"]
    if isinstance(tags, str) and not tags.startswith("["):
        del values["tags"]
        return (tags,) if tags else ()
    tags = take_list(values, "tags")
    if not all(isinstance(tag, str) for tag in tags):
        raise RecordError("'tags' must be a list of texts.")
    return tuple(tags)
