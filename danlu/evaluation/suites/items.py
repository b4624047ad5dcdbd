"""Items as a suite's JSONL has them, one object a line, read strictly.

``prompt`` is a bare user message, ``text`` plain text to be read; otherwise the keys are those of
``Item``. An item without id gets one from its content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from danlu.errors import EvaluationError, RecordError, did_you_mean
from danlu.evaluation.schema import Item
from danlu.records.record import content_id
from danlu.records.source import check_task_type

KEYS = (*Item.model_fields, "prompt", "text")
ROLES = ("system", "user", "assistant", "tool", "text")


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of a JSONL file, with their lines.

    Raises:
        EvaluationError: If the file is not there, or a line is no JSON object.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise EvaluationError("there is no such file of items.", where=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"cannot be read: {error}.", where=str(path)) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise EvaluationError(
                f"this is not JSON: {error}.", where=f"{path}:{number}"
            ) from error
        if not isinstance(row, dict):
            raise EvaluationError("an item is a JSON object, {...}.", where=f"{path}:{number}")
        yield number, row


def read_items(path: Path, task_type: str | None = None) -> Iterator[Item]:
    """Read items in Danlu's own form.

    Args:
        path: A JSONL file.
        task_type: Of items that name none.

    Raises:
        EvaluationError: With file and line, if one cannot be read.
    """
    for line, row in rows_of(path):
        yield item_of(row, f"{path}:{line}", task_type)


def item_of(row: Mapping[str, Any], where: str, task_type: str | None = None) -> Item:
    """Read one item.

    Raises:
        EvaluationError: If a key is unknown or missing, or a value wrong.
    """
    for key in row:
        if key not in KEYS:
            raise EvaluationError(f"{key!r} is not known.{did_you_mean(key, KEYS)}", where=where)
    given = [key for key in ("prompt", "text", "messages") if key in row]
    if len(given) != 1:
        told = f"has {' and '.join(given)}" if given else "asks nothing"
        raise EvaluationError(
            f"{told}; it must have one of prompt, messages and text.", where=where
        )
    plain = {key: value for key, value in row.items() if key not in ("prompt", "text")}
    if given[0] != "messages":
        role = {"prompt": "user", "text": "text"}[given[0]]
        plain["messages"] = [{"role": role, "content": row[given[0]]}]
    _check_messages(plain["messages"], where)
    plain.setdefault("task_type", task_type)
    if plain["task_type"] is None:
        raise EvaluationError("has no task_type; the suite has more than one.", where=where)
    try:
        check_task_type(str(plain["task_type"]))
    except RecordError as error:
        raise EvaluationError(error.message, where=where) from error
    asked = {key: plain.get(key) for key in ("task_type", "messages", "reference", "context")}
    plain["id"] = str(plain["id"]) if "id" in plain else content_id(asked)
    try:
        return Item.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise EvaluationError(f"{first['msg']}.", where=f"{where}: {place}") from error


def _check_messages(messages: Any, where: str) -> None:
    if not isinstance(messages, list) or not messages:
        raise EvaluationError("messages must be a list with one or more.", where=where)
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise EvaluationError(f"message {number} must be an object with a role.", where=where)
        if message["role"] not in ROLES:
            hint = did_you_mean(message["role"], ROLES)
            raise EvaluationError(f"message {number}: no such role.{hint}", where=where)
        content = message.get("content")
        empty = not isinstance(content, str) or not content.strip()
        if empty and not (content is None and message.get("tool_calls")):
            raise EvaluationError(f"message {number} has no text.", where=where)
    if messages[-1]["role"] == "assistant":
        raise EvaluationError(
            "ends with an answer; put what is expected into reference.", where=where
        )
    if any(message["role"] == "text" for message in messages) and len(messages) > 1:
        raise EvaluationError("plain text stands alone, without other messages.", where=where)
