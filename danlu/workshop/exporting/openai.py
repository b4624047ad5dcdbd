"""OpenAI's chat fine-tuning: messages and tools, and no other column; the API refuses them."""

from __future__ import annotations

import json
from typing import Any

from danlu.records import Message, Record
from danlu.workshop.exporting.form import Export, UnfitError, refuse_responses

ROLES = ("developer", "system", "user", "assistant", "tool")
_KNOWN = frozenset({"tool_calls", "name", "tool_call_id", "refusal"})


def row(record: Record) -> dict[str, Any]:
    """Make a row; arguments of tool calls that are objects become JSON text, as the API has them.

    Raises:
        UnfitError: If a role, a weight or a key of a message is one that the API has not.

    Example:
        >>> messages = (Message("user", "1 + 1?"), Message("assistant", "2", weight=0))
        >>> row(Record("7", "math/sums", messages))["messages"][1]
        {'role': 'assistant', 'content': '2', 'weight': 0}
    """
    refuse_responses(record)
    made: dict[str, Any] = {"messages": [_message(message) for message in record.messages]}
    if record.tools:
        made["tools"] = list(record.tools)
    return made


def _message(message: Message) -> dict[str, Any]:
    if message.role not in ROLES:
        raise UnfitError(f"the role {message.role!r}")
    if unknown := message.extra.keys() - _KNOWN:
        raise UnfitError(f"{min(unknown)!r} of a message")
    made: dict[str, Any] = {"role": message.role, "content": message.content, **message.extra}
    if calls := message.extra.get("tool_calls"):
        made["tool_calls"] = [_call(call) for call in calls]
    if message.weight != 1.0:
        if message.weight != 0.0 or message.role != "assistant":
            raise UnfitError("a weight that is not 0 or 1 of an answer")
        made["weight"] = 0
    return made


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments", "{}")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


OPENAI = Export(
    name="openai", leaves_out=("id", "task type", "tags", "source", "other columns"), row=row
)
