"""Rows out of Parquet files and hub datasets, as values that JSON has."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from danlu.errors import RecordError
from danlu.records.json_rows import RawRow
from danlu.records.source import HUB_PREFIX

BATCH_ROWS = 1024

_ADDRESS = re.compile(r"(?P<name>[^:@]+)(?::(?P<config>[^@]+))?(?:@(?P<revision>.+))?")


def parquet_rows(name: str) -> Iterator[RawRow]:
    """Stream the rows of a Parquet file, numbered from 1.

    Raises:
        RecordError: If it is not one, or pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise RecordError(
            "Parquet files need pyarrow: pip install 'danlu[parquet]'.", where=name
        ) from error
    try:
        with pq.ParquetFile(name) as file:
            number = 0
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield _row(number, row)
    except pa.ArrowException as error:
        raise RecordError(f"the Parquet file cannot be read: {error}.", where=name) from error
    except OSError as error:
        raise RecordError(f"cannot be read: {error}.", where=name) from error


def hub_rows(name: str, split: str) -> Iterator[RawRow]:
    """Stream the rows of a hub dataset, numbered from 1.

    Args:
        name: ``hub:OWNER/NAME``, then ``:CONFIG`` and ``@REVISION`` where needed.
        split: Which of its splits.

    Raises:
        RecordError: If it cannot be had, or datasets is not installed.
    """
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise RecordError(
            "hub datasets need the datasets library: pip install 'danlu[hub]'.", where=name
        ) from error
    dataset, config, revision = parse_hub_name(name)
    try:
        stream = load_dataset(dataset, config, split=split, revision=revision, streaming=True)
        for number, row in enumerate(stream, start=1):
            yield _row(number, row)
    except (DatasetsError, OSError, ValueError) as error:
        raise RecordError(f"the hub dataset cannot be read: {error}", where=name) from error


def parse_hub_name(name: str) -> tuple[str, str | None, str | None]:
    """Split ``hub:OWNER/NAME:CONFIG@REVISION`` into its parts.

    Example:
        >>> parse_hub_name("hub:openai/gsm8k:main")
        ('openai/gsm8k', 'main', None)
    """
    match = _ADDRESS.fullmatch(name.removeprefix(HUB_PREFIX))
    assert match is not None, name  # Checked where the source was expanded.
    return match["name"], match["config"], match["revision"]


def plain(value: Any) -> Any:
    """Turn a value of a table into one that JSON has.

    Tables fill the fields that a nested row lacks with null, so nulls inside of structures are
    left out; NaN, which pandas writes for a missing value, becomes null; bytes become base64.

    Raises:
        RecordError: If it is of another type.

    Example:
        >>> plain({"score": float("nan"), "call": {"name": "now", "id": None}})
        {'score': None, 'call': {'name': 'now'}}
    """
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if value == value else None
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise RecordError(f"a {type(value).__name__} has no place in a record")


def _row(number: int, row: Mapping[str, Any]) -> RawRow:
    try:
        return RawRow(number, {name: plain(value) for name, value in row.items()})
    except RecordError as error:
        return RawRow(number, None, error.message, str(row))
