"""ChatML: a conversation written out in one text with its marks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.format import Format, Parts, take_text
from danlu.records.record import Message

_MESSAGE = re.compile(r"<\|im_start\|>([^\n]*)\n(.*?)<\|im_end\|>", re.DOTALL)
_BETWEEN = re.compile(r"(?:\s|<\|endoftext\|>)*")
_START = "<|im_start|>"


def recognise(row: Mapping[str, Any]) -> bool:
    """A text that begins with the mark of a message."""
    text = row.get("text")
    return isinstance(text, str) and text.lstrip()[: len(_START)] == _START


def parse(row: dict[str, Any]) -> Parts:
    """Take the text apart; contents stay to the character as they stand between the marks.

    Raises:
        RecordError: If something stands outside of the messages, or one is not closed.
    """
    text = take_text(row, "text")
    messages = []
    place = 0
    while (place := _skip(text, place)) < len(text):
        match = _MESSAGE.match(text, place)
        if match is None or _START in match[2]:
            fault = "is not closed" if text.startswith(_START, place) else "stands outside"
            raise RecordError(
                f"{text[place : place + 40]!r} {fault}; messages must be written "
                "<|im_start|>role, a line end, the content, <|im_end|>."
            )
        messages.append(Message(match[1].strip(), match[2]))
        place = match.end()
    return Parts(tuple(messages))


def _skip(text: str, place: int) -> int:
    match = _BETWEEN.match(text, place)
    return match.end() if match else place


CHATML = Format(
    name="chatml",
    summary="A conversation as one text with the marks <|im_start|> and <|im_end|>.",
    columns={"text": "The conversation; in a .txt file, blank lines separate conversations."},
    sample={
        "text": (
            "<|im_start|>user\nName a metal.<|im_end|>\n<|im_start|>assistant\nCopper.<|im_end|>\n"
        )
    },
    recognise=recognise,
    parse=parse,
)
