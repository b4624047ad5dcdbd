"""ShareGPT: conversations of from and value, with tool calls as turns of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.format import (
    Format,
    Parts,
    has_verdict,
    kind,
    looks_like_list,
    take_list,
)
from danlu.records.formats.messages import read_message, take_system, take_tools
from danlu.records.record import Message

ROLES: Mapping[str, str] = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "observation": "tool",
}
"""What ShareGPT calls the usual roles; any other name is kept as it is."""

CALL_ROLE = "function_call"

_decoder = json.JSONDecoder()


def recognise(row: Mapping[str, Any]) -> bool:
    """A column ``conversations``, and nothing that makes it part of a richer format."""
    return "conversations" in row and looks_like_list(row["conversations"]) and not has_verdict(row)


def parse(row: dict[str, Any]) -> Parts:
    """Take conversations, system and tools.

    Raises:
        RecordError: If one of them is broken.
    """
    turns = take_list(row, "conversations")
    messages = tuple([read_turn(turn, number) for number, turn in enumerate(turns, start=1)])
    return Parts(take_system(row, messages), take_tools(row))


def read_turn(turn: Any, number: int) -> Message:
    """Read one turn, named ``from`` and ``value``, or ``role`` and ``content``.

    Raises:
        RecordError: If it is broken.

    Example:
        >>> read_turn({"from": "gpt", "value": "Hello"}, 2)
        Message(role='assistant', content='Hello', weight=1.0, extra={})
    """
    if not isinstance(turn, dict):
        raise RecordError(f"turn {number} is {kind(turn)}; it must be an object.")
    role_name = "from" if "from" in turn or "role" not in turn else "role"
    content_name = "value" if "value" in turn or "content" not in turn else "content"
    if turn.get(role_name) != CALL_ROLE:
        return read_message(turn, number, role_name, content_name, ROLES)
    calls = read_calls(turn.get(content_name), number)
    plain = {name: value for name, value in turn.items() if name not in (role_name, content_name)}
    return read_message({**plain, "role": "assistant", "tool_calls": calls}, number)


def read_calls(value: Any, number: int) -> list[dict[str, Any]]:
    """Read a turn of tool calls, one or a list of them.

    Their arguments keep the text that they have in the data, so that a model learns just that
    spacing and order of keys.

    Raises:
        RecordError: If it is not JSON that names a function.

    Example:
        >>> read_calls('{"name": "add", "arguments": {"a": 1,"b":2}}', 1)[0]["function"]
        {'name': 'add', 'arguments': '{"a": 1,"b":2}'}
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        texts = _elements(text) if text.lstrip().startswith("[") else [text]
        calls = [_members(call) for call in texts]
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"turn {number} is a {CALL_ROLE} that is not JSON ({error}); it must be "
            '{"name": ..., "arguments": {...}}.'
        ) from error
    return [_call(members, number) for members in calls]


def _call(members: dict[str, str], number: int) -> dict[str, Any]:
    unknown = sorted(members.keys() - {"name", "arguments", "id"})
    if unknown or "name" not in members:
        fault = f"has {unknown[0]!r}, which is not known" if unknown else "names no function"
        raise RecordError(
            f"the {CALL_ROLE} of turn {number} {fault}; it must be "
            '{"name": ..., "arguments": {...}}.'
        )
    name = json.loads(members["name"])
    if not isinstance(name, str):
        raise RecordError(f"the function's name in turn {number} is {kind(name)}.")
    arguments = members.get("arguments", "{}")
    if arguments.startswith('"'):  # Already JSON text inside of JSON.
        arguments = json.loads(arguments)
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"id": json.loads(members["id"]), **call} if "id" in members else call


def _members(text: str) -> dict[str, str]:
    """Cut a JSON object into the texts of its values."""
    members: dict[str, str] = {}
    place = _expect(text, 0, "{")
    while not text.startswith("}", place):
        name, place = _decoder.raw_decode(text, place)
        begin = _expect(text, place, ":")
        _, end = _decoder.raw_decode(text, begin)
        if not isinstance(name, str):
            raise ValueError("a name is no text")
        members[name] = text[begin:end]
        place = _after_comma(text, end, "}")
    _expect_end(text, place + 1)
    return members


def _elements(text: str) -> list[str]:
    """Cut a JSON array into the texts of its elements."""
    elements: list[str] = []
    place = _expect(text, 0, "[")
    while not text.startswith("]", place):
        _, end = _decoder.raw_decode(text, place)
        elements.append(text[place:end])
        place = _after_comma(text, end, "]")
    _expect_end(text, place + 1)
    return elements


def _skip(text: str, place: int) -> int:
    return len(text) - len(text[place:].lstrip(" \t\n\r"))


def _expect(text: str, place: int, character: str) -> int:
    place = _skip(text, place)
    if not text.startswith(character, place):
        raise ValueError(f"{character!r} is missing at character {place + 1}")
    return _skip(text, place + 1)


def _after_comma(text: str, place: int, closing: str) -> int:
    place = _skip(text, place)
    return place if text.startswith(closing, place) else _expect(text, place, ",")


def _expect_end(text: str, place: int) -> None:
    if _skip(text, place) != len(text):
        raise ValueError(f"something stands behind it at character {place + 1}")


SHAREGPT = Format(
    name="sharegpt",
    summary="Conversations of from and value: human, gpt, system, function_call, observation.",
    columns={
        "conversations": "Turns with from and value (or role and content), optionally weight.",
        "system": "A system message to put first.",
        "tools": "Tool declarations, a list or its JSON text.",
        "functions": "The older name of tools.",
    },
    sample={
        "conversations": [
            {"from": "human", "value": "How warm is it in Lhasa?"},
            {
                "from": "function_call",
                "value": '{"name": "temperature", "arguments": {"city": "Lhasa"}}',
            },
            {"from": "observation", "value": '{"celsius": 11}'},
            {"from": "gpt", "value": "It is 11 °C in Lhasa."},
        ],
        "tools": (
            '[{"name": "temperature", "parameters": {"type": "object", '
            '"properties": {"city": {"type": "string"}}}}]'
        ),
    },
    recognise=recognise,
    parse=parse,
)
