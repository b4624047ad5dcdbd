"""Documents as makers use them: found among the records, cut into pieces, and used up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import regex

from danlu.errors import DanluError
from danlu.records import Record, content_id
from danlu.workshop.store.decision import Decision, drop, keep

_BREAK = regex.compile(r"\n\s*\n|(?<=[。！？!?])\s*|(?<=\.)\s+(?=[A-Z\"“])|\n")


class Piece(NamedTuple):
    """A part of a document that is shown at a time.

    Attributes:
        document: The record that it is of.
        text: What it says.
    """

    document: Record
    text: str

    @property
    def name(self) -> str:
        """Tells it from all other pieces, whatever they are cut of."""
        return f"{self.document.id}/{content_id(self.text)}"


def pieces_of(records: Sequence[Record], most_characters: int) -> list[Piece]:
    """Cut the documents among records (those of one message ``text``) into pieces.

    Raises:
        DanluError: If there is no document.
    """
    documents = [record for record in records if record.is_text]
    if not documents:
        raise DanluError("there is no document: a record with one message of role 'text'.")
    return [
        Piece(one, text)
        for one in documents
        for text in chunks_of(one.messages[0].content or "", most_characters)
    ]


def fates_of(records: Sequence[Record], keep_documents: bool) -> Iterator[Decision]:
    """Say what becomes of the given records: documents go, once used, unless they are kept."""
    for record in records:
        used = record.is_text and not keep_documents
        yield drop(record, "document used") if used else keep(record)


def chunks_of(text: str, most: int) -> list[str]:
    """Cut a text between sentences into pieces of at most so many characters.

    A single sentence that is longer is a piece of its own.

    Example:
        >>> chunks_of("甲乙丙。丁戊。己庚辛壬。", 8)
        ['甲乙丙。丁戊。', '己庚辛壬。']
    """
    pieces: list[str] = []
    start = 0
    ends = [found.end() for found in _BREAK.finditer(text)] + [len(text)]
    last = 0
    for end in ends:
        if end - start > most and last > start:
            pieces.append(text[start:last])
            start = last
        last = end
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces if piece.strip()]
