"""Records chosen by what they are: for showing, editing and exporting some of them."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from danlu.records import Record
from danlu.workshop.likeness.text import fold
from danlu.workshop.store.writer import characters


@dataclass(frozen=True)
class Choice:
    """What a record must be to be chosen; what is not set asks nothing.

    Attributes:
        ids: One of these ids.
        task_types: One of these task types; a pattern such as ``reasoning/*`` stands for many.
        tags: All of these tags.
        text: Contains this text in a message or response; case, width and traditional characters
            make no difference.
        min_characters: Is at least this long, messages and responses together.
        max_characters: Is at most this long.
    """

    ids: tuple[str, ...] = ()
    task_types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    text: str | None = None
    min_characters: int | None = None
    max_characters: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is asked."""
        return self == Choice()

    def fits(self, record: Record) -> bool:
        """Whether a record is chosen.

        Example:
            >>> from danlu.records import Message
            >>> record = Record("1", "math/sums", (Message("user", "ＡＢＣ 電腦"),))
            >>> Choice(task_types=("math/*",), text="abc 电脑").fits(record)
            True
        """
        if self.ids and record.id not in self.ids:
            return False
        if self.task_types and not any(fnmatchcase(record.task_type, t) for t in self.task_types):
            return False
        if self.tags and not set(self.tags) <= set(record.tags):
            return False
        if self.min_characters is not None or self.max_characters is not None:
            size = characters(record)
            if self.min_characters is not None and size < self.min_characters:
                return False
            if self.max_characters is not None and size > self.max_characters:
                return False
        if self.text is None:
            return True
        sought = fold(self.text)
        texts = [message.content or "" for message in record.messages]
        texts += [response.content for response in record.responses]
        return any(sought in fold(text) for text in texts)


def drawn(records: Iterable[Record], count: int, seed: int) -> list[Record]:
    """Draw records at random, in their order: those whose id, hashed with the seed, is lowest.

    So a draw stays the same when other records come or go, as far as it can.

    Args:
        records: Gone through once.
        count: How many at most.
        seed: Another seed, another draw.
    """

    def marked() -> Iterator[tuple[bytes, int, Record]]:
        for position, record in enumerate(records):
            salt = (seed % (1 << 64)).to_bytes(8)
            mark = hashlib.blake2b(record.id.encode(), digest_size=8, salt=salt).digest()
            yield mark, position, record

    lowest = heapq.nsmallest(count, marked(), key=lambda item: item[:2])
    return [record for _, _, record in sorted(lowest, key=lambda item: item[1])]
