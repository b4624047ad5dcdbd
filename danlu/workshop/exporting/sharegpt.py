"""ShareGPT: turns of from and value, with tool calls as turns of their own."""

from __future__ import annotations

import json
from typing import Any

from danlu.records import Message, Record
from danlu.workshop.exporting.form import Export, UnfitError, refuse_responses, with_columns

NAMES = {"user": "human", "assistant": "gpt", "tool": "observation"}
"""What the format calls roles; any other keeps its name."""

CALLS = "function_call"
_TAKEN = frozenset({"from", "value", "weight"})


def row(record: Record) -> dict[str, Any]:
    """Make a row; the arguments of tool calls stay as they are, byte for byte.

    Raises:
        UnfitError: If an answer has text and tool calls, or a role would be read as another.

    Example:
        >>> messages = (Message("user", "1 + 1?"), Message("assistant", "2"))
        >>> row(Record("7", "math/sums", messages))["conversations"]
        [{'from': 'human', 'value': '1 + 1?'}, {'from': 'gpt', 'value': '2'}]
    """
    refuse_responses(record)
    made: dict[str, Any] = {"conversations": [_turn(message) for message in record.messages]}
    if record.tools:
        made["tools"] = json.dumps(list(record.tools), ensure_ascii=False)
    return with_columns(record, made)


def _turn(message: Message) -> dict[str, Any]:
    if message.role in (*NAMES.values(), CALLS, "chatgpt", "function"):
        raise UnfitError(f"the role {message.role!r}, which the format calls another by")
    extra = dict(message.extra)
    calls = extra.pop("tool_calls", None)
    if taken := _TAKEN & extra.keys():
        raise UnfitError(f"{min(taken)!r} of a message")
    if calls:
        if message.content is not None or message.role != "assistant":
            raise UnfitError("text and tool calls in one message")
        texts = [_call(call) for call in calls]
        value = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        turn: dict[str, Any] = {"from": CALLS, "value": value, **extra}
    else:
        turn = {"from": NAMES.get(message.role, message.role), "value": message.content, **extra}
    if message.weight != 1.0:
        turn["weight"] = message.weight
    return turn


def _call(call: dict[str, Any]) -> str:
    function = call["function"]
    if call.keys() - {"id", "type", "function"} or function.keys() - {"name", "arguments"}:
        raise UnfitError("a tool call with more than id, name and arguments")
    name = json.dumps(function["name"], ensure_ascii=False)
    text = f'"name": {name}, "arguments": {_arguments(function.get("arguments", {}))}'
    if "id" in call:
        text += f', "id": {json.dumps(call["id"], ensure_ascii=False)}'
    return f"{{{text}}}"


def _arguments(arguments: Any) -> str:
    """Return arguments as JSON: a text that is an object as it stands, any other as a string."""
    if not isinstance(arguments, str):
        return json.dumps(arguments, ensure_ascii=False)
    try:
        is_object = isinstance(json.loads(arguments), dict) and arguments == arguments.strip()
    except ValueError:
        is_object = False
    return arguments if is_object else json.dumps(arguments, ensure_ascii=False)


SHAREGPT = Export(name="sharegpt", leaves_out=("source",), row=row)
