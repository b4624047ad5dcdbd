"""Plain text: documents for continued pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.records.formats import chatml
from danlu.records.formats.format import Format, Parts, take_text
from danlu.records.record import TEXT_ROLE, Message


def recognise(row: Mapping[str, Any]) -> bool:
    """A column ``text`` that is not ChatML, or a column ``content`` that is not a message's."""
    if "text" not in row:
        return isinstance(row.get("content"), str) and "role" not in row
    return isinstance(row["text"], str) and not chatml.recognise(row)


def parse(row: dict[str, Any]) -> Parts:
    """Take the text as the one message of role ``text``.

    Raises:
        RecordError: If it is missing.
    """
    column = "text" if "text" in row or "content" not in row else "content"
    return Parts((Message(TEXT_ROLE, take_text(row, column)),))


TEXT = Format(
    name="text",
    summary="Plain texts: documents for continued pre-training, or texts with a class.",
    columns={
        "text": "The document; a line of a .txt file, or a whole .md file.",
        "content": "The same, where there is no text.",
        "text_pair": "For classifiers, a second text; kept as it is, like the next two.",
        "label": "For classifiers, the class.",
        "labels": "For classifiers, the classes: a list, or one text.",
    },
    sample={"text": "The Yellow River is named after the loess that it carries."},
    recognise=recognise,
    parse=parse,
)
