"""What people say of a run: ``notes.json`` beside its files, which training never touches."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from danlu.runs import files
from danlu.runs.schema import Row, Text

FILE = "notes.json"

Tag = Annotated[Text, Field(min_length=1, max_length=60, pattern=r"^[^,\s]+$")]


class Notes(Row):
    """Tags and a note; an overwritten or resumed run keeps them.

    Attributes:
        tags: Words to find the run by, without spaces and commas.
        note: Whatever is worth remembering.
        updated_at: When they were written, UTC; None where nothing was.

    Example:
        >>> Notes(tags=("baseline",)).note
        ''
    """

    tags: tuple[Tag, ...] = Field((), max_length=50)
    note: Text = Field("", max_length=20_000)
    updated_at: datetime | None = None


def read_notes(run: Path) -> Notes:
    """Return the notes of a run; empty ones where there is no file.

    Raises:
        RunError: If the file is broken.
    """
    return files.read_row(Notes, run / FILE) or Notes()


def write_notes(run: Path, tags: tuple[str, ...], note: str) -> Notes:
    """Keep tags and a note, whole or not at all.

    Raises:
        pydantic.ValidationError: If a tag has a space or a comma, or something is too long.
    """
    ordered = tuple(dict.fromkeys(tags))
    notes = Notes(tags=ordered, note=note, updated_at=datetime.now(UTC).replace(microsecond=0))
    files.write_atomically(run / FILE, notes.to_json(indent=2) + "\n")
    return notes
