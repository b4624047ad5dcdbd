"""One record as one line of Danlu's own format, and back.

The line is the same, byte for byte, for equal records: a hash of lines is a hash of records.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring as _quote
from typing import Any

from danlu.errors import RecordError
from danlu.records.check import check_messages
from danlu.records.record import Message, Record, Response
from danlu.records.source import check_task_type

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_checked_task_types: set[str] = set()


def encode_record(record: Record) -> bytes:
    """Write a record as one line of JSON.

    The texts that nearly every record consists of are written directly, which takes a third of the
    time of making a row first; the bytes are those of the encoder.

    Raises:
        RecordError: If the record is not whole, or holds what JSON has not.

    Example:
        >>> print(encode_record(Record("1", "a/b", (Message("x", "嗨"),))).decode().rstrip())
        {"id": "1", "task_type": "a/b", "messages": [{"role": "x", "content": "嗨"}], "source": ""}
    """
    try:
        check_messages(record.messages)
        if record.task_type not in _checked_task_types:
            check_task_type(record.task_type)
            _checked_task_types.add(record.task_type)
        messages = ", ".join([encode_message(message) for message in record.messages])
        parts = [f'{{"id": {_quote(record.id)}, "task_type": {_quote(record.task_type)}']
        parts.append(f'"messages": [{messages}]')
        if record.tools:
            parts.append(f'"tools": {_encode(list(record.tools))}')
        if record.responses:
            parts.append(f'"responses": {_encode([response_row(r) for r in record.responses])}')
        if record.tags:
            parts.append(f'"tags": {_encode(list(record.tags))}')
        parts.append(f'"source": {_quote(record.source)}')
        if record.meta:
            parts.append(f'"meta": {_encode(dict(record.meta))}')
        return f"{', '.join(parts)}}}\n".encode()
    except RecordError as error:
        raise RecordError(error.message, where=f"record {record.id}") from error
    except (TypeError, ValueError) as error:
        raise RecordError(
            f"the record holds something that JSON has not: {error}.", where=f"record {record.id}"
        ) from error


def encode_message(message: Message) -> str:
    """Write one message as JSON.

    Example:
        >>> encode_message(Message("assistant", "Hi", weight=0.5))
        '{"role": "assistant", "content": "Hi", "weight": 0.5}'
    """
    if message.weight == 1.0 and not message.extra and message.content is not None:
        return f'{{"role": {_quote(message.role)}, "content": {_quote(message.content)}}}'
    return _encode(message_row(message))


def message_row(message: Message) -> dict[str, Any]:
    """Return a message as the JSON object of Danlu's own format."""
    row = message.as_dict()
    if message.weight != 1.0:
        row["weight"] = message.weight
    return row


def response_row(response: Response) -> dict[str, Any]:
    """Return an answer to compare as the JSON object of Danlu's own format."""
    row = {
        "content": response.content,
        "rank": response.rank,
        "score": response.score,
        "label": response.label,
    }
    return {name: value for name, value in row.items() if value is not None}


def decode_record(line: str | bytes) -> Record:
    """Read a line that ``encode_record`` wrote: fast, since it was checked when it was written.

    Raises:
        ValueError: If it is not such a line.

    Example:
        >>> record = Record("1", "a/b", (Message("user", "Hi"),), tags=("seed",), source="x")
        >>> decode_record(encode_record(record)) == record
        True
    """
    try:
        return record_of(json.loads(line))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record of Danlu's own format ({error})") from error


def record_of(row: dict[str, Any]) -> Record:
    """Return the record of a row that ``encode_record`` wrote."""
    return Record(
        row["id"],
        row["task_type"],
        tuple([_message_of(item) for item in row["messages"]]),
        tuple(row.get("tools", ())),
        tuple([Response(**item) for item in row.get("responses", ())]),
        tuple(row.get("tags", ())),
        row["source"],
        row.get("meta", {}),
    )


def _message_of(item: dict[str, Any]) -> Message:
    if len(item) == 2:
        return Message(item["role"], item["content"])
    role, content = item.pop("role"), item.pop("content")
    return Message(role, content, item.pop("weight", 1.0), item)
