"""OpenAI's format of chat fine-tuning: messages with role and content, tools and tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.records.formats import danlu
from danlu.records.formats.format import (
    Format,
    Parts,
    has_verdict,
    looks_like_list,
    take_list,
)
from danlu.records.formats.messages import read_messages, take_system, take_tools


def recognise(row: Mapping[str, Any]) -> bool:
    """Messages, and nothing that makes them part of a richer format."""
    return (
        "messages" in row
        and looks_like_list(row["messages"])
        and not has_verdict(row)
        and not danlu.recognise(row)
    )


def parse(row: dict[str, Any]) -> Parts:
    """Take messages and tools.

    Raises:
        RecordError: If one of them is broken.
    """
    messages = take_system(row, read_messages(take_list(row, "messages")))
    return Parts(messages, take_tools(row))


OPENAI = Format(
    name="openai",
    summary="Messages with role and content, as OpenAI's chat fine-tuning takes them.",
    columns={
        "messages": "role, content (text or text parts), weight, tool_calls, tool_call_id, name.",
        "tools": "Tool declarations; also under the older name functions.",
        "functions": "The older name of tools.",
        "system": "A system message to put first.",
    },
    sample={
        "messages": [
            {"role": "system", "content": "Answer in one word."},
            {"role": "user", "content": "What is the opposite of hot?"},
            {"role": "assistant", "content": "Cold.", "weight": 1},
        ]
    },
    recognise=recognise,
    parse=parse,
)
