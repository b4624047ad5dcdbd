"""Records written in Danlu's own format, one JSON object a line."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, cast

from danlu.errors import RecordError
from danlu.records.lines import encode_record, message_row, response_row
from danlu.records.record import Record


def write_records(records: Iterable[Record], path: str | Path) -> int:
    """Write records so that, killed at any moment, the old file or the whole new one is there.

    What is written reads back as equal records, in any later version.

    Args:
        records: Gone through once; may be a stream.
        path: A ``.jsonl`` file, or ``.jsonl.gz``. Its folder is made where it is missing.

    Returns:
        How many were written.

    Raises:
        RecordError: If a record is not whole, or holds what JSON has not.
    """
    path = Path(path)
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise RecordError("records are written as .jsonl or .jsonl.gz.", where=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with temporary.open("wb") as file:
            with _packed(file, path) as out:
                for record in records:
                    out.write(encode_record(record))
                    count += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def to_row(record: Record) -> dict[str, Any]:
    """Return a record as the JSON object of Danlu's own format.

    Example:
        >>> from danlu.records import Message
        >>> to_row(Record("1", "identity/name", (Message("user", "Hi"),), source="a.json"))
        {'id': '1', 'task_type': 'identity/name', 'messages': [{'role': 'user', 'content': 'Hi'}], \
'source': 'a.json'}
    """
    row: dict[str, Any] = {
        "id": record.id,
        "task_type": record.task_type,
        "messages": [message_row(message) for message in record.messages],
    }
    if record.tools:
        row["tools"] = list(record.tools)
    if record.responses:
        row["responses"] = [response_row(response) for response in record.responses]
    if record.tags:
        row["tags"] = list(record.tags)
    row["source"] = record.source
    if record.meta:
        row["meta"] = dict(record.meta)
    return row


def _packed(file: IO[bytes], path: Path) -> IO[bytes]:
    """Compress where the name asks for it; without a time: equal records, equal files."""
    if path.suffix != ".gz":
        return cast(IO[bytes], nullcontext(file))
    return cast(IO[bytes], gzip.GzipFile("", "wb", fileobj=file, mtime=0))
