"""One name for each record of a reading.

- A record without an id is named by its content: the same content, the same id, in whatever format
  it is written. Where it comes again, it is ``<id>-2``, ``<id>-3`` ...
- An id that comes again with the same content is a repeat as well (records are repeated to weigh
  more), and is named likewise.
- An id that comes again with other content is an error within a file. In another file it is
  ``<id>@<file stem>``: numbers that begin anew in each file are common, and no fault.

The ids of a reading are held in memory, about 150 bytes for each.
"""

from __future__ import annotations

import hashlib

from danlu.errors import RecordError
from danlu.records.formats.format import Parts
from danlu.records.record import content_id

_FILE_BITS = 16
_FILES = 1 << _FILE_BITS


class IdClashError(RecordError):
    """An id that is already another record's of the same file.

    Attributes:
        name: The id.
    """

    def __init__(self, name: str, first: str = "an earlier row") -> None:
        self.name = name
        super().__init__(
            f"the id {name!r} is also that of the record at {first}, which has other content. Make "
            "the ids unique, or take the column out."
        )


class Ids:
    """The ids given so far."""

    def __init__(self) -> None:
        # Per id, the hash of its content with the number of its file in the lowest bits: one
        # integer, since there may be many millions.
        self._seen: dict[str, int] = {}
        self._repeats: dict[str, int] = {}

    def name(self, given: str | None, parts: Parts, file_number: int, stem: str) -> str:
        """Name a record.

        Args:
            given: The id that it carries; None if it has none.
            parts: Its content.
            file_number: Of its file, counted from 0 over the reading.
            stem: Of its file.

        Raises:
            IdClashError: If the id is that of another record of the same file.
        """
        digest = parts_id(parts)
        name = given or digest
        mark = int(digest, 16) << _FILE_BITS | file_number % _FILES
        seen = self._seen.get(name)
        if seen is not None and _is_other(seen, mark) and not _is_same_file(seen, mark):
            name = f"{name}@{stem}"
            seen = self._seen.get(name)
        if seen is not None:
            if _is_other(seen, mark) and _is_same_file(seen, mark):
                raise IdClashError(given or digest)
            name = self._repeat(name)
        self._seen[name] = mark
        return name

    def _repeat(self, name: str) -> str:
        count = self._repeats.get(name, 1) + 1
        while f"{name}-{count}" in self._seen:
            count += 1
        self._repeats[name] = count
        return f"{name}-{count}"


def _is_other(mark: int, than: int) -> bool:
    return mark >> _FILE_BITS != than >> _FILE_BITS


def _is_same_file(mark: int, than: int) -> bool:
    return mark % _FILES == than % _FILES


def parts_id(parts: Parts) -> str:
    """Hash the content of a record to 16 hexadecimal digits: messages, tools and responses.

    Texts are hashed as they are, each with its length before it, which takes a quarter of the time
    of writing them as JSON first.

    Example:
        >>> from danlu.records.record import Message
        >>> parts_id(Parts((Message("user", "Hi"), Message("assistant", "Hello"))))
        '8085b4a6da333c91'
    """
    pieces = []
    for message in parts.messages:
        role, content = message.role, message.content or ""
        pieces.append(f"{len(role)},{len(content)}:{role}{content}")
        if message.weight != 1.0 or message.extra or message.content is None:
            rest = [message.content is None, message.weight, message.extra]
            pieces.append(f"+{content_id(rest)}")
    if parts.tools or parts.responses:
        responses = [[r.content, r.rank, r.score, r.label] for r in parts.responses]
        pieces.append(f"/{content_id([parts.tools, responses])}")
    return hashlib.blake2b("".join(pieces).encode(), digest_size=8).hexdigest()
