"""Prompt and completion: two texts, or two lists of messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.format import Format, Parts, has_verdict, kind
from danlu.records.formats.messages import read_messages, take_system, take_tools
from danlu.records.record import Message


def recognise(row: Mapping[str, Any]) -> bool:
    """A prompt and a completion without a verdict on it."""
    return "prompt" in row and "completion" in row and not has_verdict(row)


def parse(row: dict[str, Any]) -> Parts:
    """Take prompt and completion. Assistant turns inside of the prompt are not trained.

    Raises:
        RecordError: If one of them is broken.
    """
    prompt = tuple(
        [
            replace(message, weight=0.0) if message.role == "assistant" else message
            for message in take_side(row, "prompt", "user")
        ]
    )
    completion = take_side(row, "completion", "assistant")
    return Parts(take_system(row, (*prompt, *completion)), take_tools(row))


def take_side(row: dict[str, Any], column: str, role: str) -> tuple[Message, ...]:
    """Take a text, as a message of that role, or a list of messages.

    Raises:
        RecordError: If it is missing or something else.
    """
    value = row.pop(column, None)
    if isinstance(value, str):
        return (Message(role, value),)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise RecordError(
            f"the column {column!r} is {kind(value)}; it must be text or a list of messages."
        )
    return read_messages(value)


PROMPT_COMPLETION = Format(
    name="prompt_completion",
    summary="A prompt and its completion: two texts, or two lists of messages.",
    columns={
        "prompt": "What is asked; never trained.",
        "completion": "The answer.",
        "system": "A system message to put first.",
        "tools": "Tool declarations.",
        "functions": "The older name of tools.",
    },
    sample={"prompt": "Is 91 a prime number?", "completion": "No: it is 7 times 13."},
    recognise=recognise,
    parse=parse,
)
