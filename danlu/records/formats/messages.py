"""Messages and tools as JSON has them, read into one form: the OpenAI schema's of today."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.format import kind, take_list, take_optional_text
from danlu.records.json_rows import decode
from danlu.records.record import Message

WEIGHT_NAMES = ("weight", "loss", "train")
"""Under which data say how much a message counts: a number, or for the last two a yes or no."""

TAKEN_NAMES = frozenset({"role", "content", "function_call", *WEIGHT_NAMES})
"""Keys of a message that never reach its ``extra``."""


def read_messages(items: Sequence[Any]) -> tuple[Message, ...]:
    """Read a list of messages with ``role`` and ``content``.

    Raises:
        RecordError: If one is broken; it is named by its number, from 1.
    """
    return tuple([read_message(item, number) for number, item in enumerate(items, start=1)])


def read_message(
    item: Any,
    number: int,
    role_name: str = "role",
    content_name: str = "content",
    roles: Mapping[str, str] | None = None,
) -> Message:
    """Read one message.

    Args:
        item: The message as JSON has it.
        number: Which of its conversation it is, for the error message.
        role_name: Key of the role.
        content_name: Key of the content.
        roles: What roles are called otherwise; others are kept as they are.

    Raises:
        RecordError: If it is broken.

    Example:
        >>> read_message({"role": "user", "content": [{"type": "text", "text": "Hi"}]}, 1)
        Message(role='user', content='Hi', weight=1.0, extra={})
    """
    if not isinstance(item, dict):
        raise RecordError(f"message {number} is {kind(item)}; it must be an object.")
    role = item.get(role_name)
    if not isinstance(role, str) or not role:
        raise RecordError(f"message {number} has no {role_name!r}; it has {', '.join(item)}.")
    if roles is not None:
        role = roles.get(role, role)
    # OpenAI's older schema called the answer of a tool so.
    role = "tool" if role == "function" else role
    content = item.get(content_name)
    if len(item) == 2 and isinstance(content, str):
        return Message(role, content)
    extra = {
        name: value
        for name, value in item.items()
        if value is not None and name not in TAKEN_NAMES and name not in (role_name, content_name)
    }
    calls = _tool_calls(extra.pop("tool_calls", None), item.get("function_call"), number)
    if calls:
        extra["tool_calls"] = calls
    if not isinstance(content, str):
        content = _content(content, bool(calls), f"message {number} ({role})")
    return Message(role, content, _weight(item, number), extra)


def take_system(row: dict[str, Any], messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Put the text of the column ``system``, if there is one, before the messages.

    Raises:
        RecordError: If the messages begin with another system message.
    """
    system = take_optional_text(row, "system")
    if not system:
        return messages
    if messages and messages[0].role == "system":
        if messages[0].content != system:
            raise RecordError(
                "the column 'system' and the first message are two different system messages."
            )
        return messages
    return (Message("system", system), *messages)


def take_tools(row: dict[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Take tool declarations: a list or its JSON text, each in the OpenAI schema or bare.

    Also ``functions``, as OpenAI's older schema called the column.

    Raises:
        RecordError: If they are something else.

    Example:
        >>> take_tools({"tools": '[{"name": "now", "parameters": {}}]'})
        ({'type': 'function', 'function': {'name': 'now', 'parameters': {}}},)
    """
    tools = take_list(row, "tools")
    if "functions" in row:
        if tools:
            raise RecordError("the row has both 'tools' and 'functions'; leave one.")
        tools = take_list(row, "functions")
    return tuple([_tool(tool, number) for number, tool in enumerate(tools, start=1)])


def _tool(tool: Any, number: int) -> Mapping[str, Any]:
    if isinstance(tool, str):
        try:
            tool = decode(tool)
        except ValueError as error:
            raise RecordError(f"tool {number} is text that is not JSON: {error}.") from error
    if not isinstance(tool, dict):
        raise RecordError(f"tool {number} is {kind(tool)}; it must be an object.")
    if "function" in tool or "name" not in tool or "type" in tool:
        return tool
    return {"type": "function", "function": tool}


def _tool_calls(calls: Any, older: Any, number: int) -> list[dict[str, Any]]:
    """Return tool calls in the OpenAI schema; their arguments stay byte for byte."""
    if older is not None:
        if calls:
            raise RecordError(f"message {number} has both 'tool_calls' and 'function_call'.")
        calls = [older]
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise RecordError(f"'tool_calls' of message {number} is {kind(calls)}; it must be a list.")
    return [_tool_call(call, number) for call in calls]


def _tool_call(call: Any, number: int) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RecordError(
            f"a tool call of message {number} names no function; it must be "
            '{"type": "function", "function": {"name": ..., "arguments": ...}}.'
        )
    if function is not call:
        return call  # type: ignore[no-any-return]
    bare = {name: value for name, value in call.items() if name in ("name", "arguments")}
    rest = {name: value for name, value in call.items() if name not in ("name", "arguments")}
    return {"type": "function", **rest, "function": bare}


def _content(content: Any, has_calls: bool, message: str) -> str | None:
    """Return the content of a message where it is not simply text."""
    if content is None:
        if has_calls:
            return None
        raise RecordError(f"{message} has no content.")
    if not isinstance(content, list):
        raise RecordError(f"the content of {message} is {kind(content)}; it must be text.")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            what = part.get("type", "?") if isinstance(part, dict) else kind(part)
            raise RecordError(f"the content of {message} has a part that is no text ({what}).")
        texts.append(text)
    return "".join(texts)


def _weight(item: Mapping[str, Any], number: int) -> float:
    """Return what the message says of its weight; 1 if nothing.

    Raises:
        RecordError: If it is out of range, or said twice and differently.
    """
    said: dict[str, float] = {}
    for name in WEIGHT_NAMES:
        value = item.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise RecordError(f"{name!r} of message {number} is {value!r}; it must be 0 or more.")
        if name != "weight" and value not in (0, 1):
            raise RecordError(f"{name!r} of message {number} is {value!r}; it must be a yes or no.")
        said[name] = float(value)
    if len(set(said.values())) > 1:
        raise RecordError(f"message {number} says two different weights: {said}.")
    return next(iter(said.values()), 1.0)
