"""What an operation is given beside its records: a pool to hold them against, scores, token counts.

They shape the result, so they are settings; of so much data the manifest holds a hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from danlu.errors import RecordError
from danlu.records import Record
from danlu.records.text_files import text_lines
from danlu.workshop.likeness.parts import parts


@dataclass(frozen=True)
class Pool:
    """Texts that records are held against, by the id of what they are of."""

    texts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Pool:
        """Take the prompts of records."""
        return cls({record.id: parts(record).prompt for record in records})

    def settings(self) -> dict[str, object]:
        """Return how many there are, and a hash of them in their order."""
        return {"texts": len(self.texts), "hash": _hash(list(self.texts.items()))}


@dataclass(frozen=True)
class Scores:
    """A number for each record, by id."""

    by_id: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | str, name: str = "score") -> Scores:
        """Read a JSONL file of objects with ``id`` and a score.

        Args:
            path: The file, such as ``danlu data score`` writes.
            name: What the score is called; where a line has none of that name, ``score``.

        Raises:
            RecordError: If it cannot be read, or a line says something else.
        """
        try:
            lines = text_lines(path)
        except (OSError, UnicodeDecodeError) as error:
            raise RecordError(f"the scores cannot be read: {error}.", where=str(path)) from error
        by_id: dict[str, float] = {}
        for number, line in enumerate(lines, 1):
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
                id_, score = row["id"], row[name] if name in row else row["score"]
            except (ValueError, KeyError, TypeError) as error:
                raise RecordError(
                    f'a line of scores is an object such as {{"id": "a1", "{name}": 2.5}}.',
                    where=where,
                ) from error
            number_given = isinstance(score, int | float) and not isinstance(score, bool)
            if not isinstance(id_, str) or not number_given or score != score:
                raise RecordError(f"the score of {id_!r} is {score!r}, no number.", where=where)
            if by_id.setdefault(id_, float(score)) != score:
                raise RecordError(f"{id_!r} has two scores.", where=where)
        return cls(by_id)

    def of(self, ids: Iterable[str]) -> list[float]:
        """Return the score of each record.

        Raises:
            RecordError: If some have none.
        """
        found: list[float] = []
        missing: list[str] = []
        for one in ids:
            if one in self.by_id:
                found.append(self.by_id[one])
            else:
                missing.append(one)
        if missing:
            some = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
            raise RecordError(f"{len(missing):,} records have no score ({some}).")
        return found

    def settings(self) -> dict[str, object]:
        """Return how many there are, and a hash of them."""
        return {"scores": len(self.by_id), "hash": _hash(sorted(self.by_id.items()))}


def _hash(content: object) -> str:
    text = json.dumps(content, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
