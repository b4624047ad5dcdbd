"""What a dataset version says of itself: where it came from and what is in it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from danlu.errors import StoreError
from danlu.workshop.store.decision import Fate

LAYOUT = 1
"""Raised when the files of a version change their form."""

FileFormat = Literal["jsonl", "parquet"]


class Part(BaseModel):
    """Base of what a manifest is made of: frozen, and closed to unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class OperationInfo(Part):
    """What made a version.

    Attributes:
        name: As in ``danlu data NAME``.
        revision: Of the operation's results.
        settings: Every setting of it.
    """

    name: str
    revision: int
    settings: dict[str, Any]


class Parent(Part):
    """A version that this one was made of.

    Attributes:
        id: Of the version.
        content: Fingerprint of its records.
    """

    id: str
    content: str


class InputFile(Part):
    """A file that was imported.

    Attributes:
        name: As the user named it, or as it was found below a folder or a pattern.
        bytes: Its size; None of a hub dataset.
    """

    name: str
    bytes: int | None


class TypeCounts(Part):
    """What a version has of one task type.

    Attributes:
        records: In the version.
        characters: Of their messages and responses.
        fates: Rows of the ledger, by fate.
    """

    records: int
    characters: int
    fates: dict[Fate, int]


class RuleCount(Part):
    """How often a rule decided.

    Attributes:
        fate: What became of the records.
        rule: By which rule.
        count: Of how many.
    """

    fate: Fate
    rule: str
    count: int


class Manifest(Part):
    """``manifest.json`` of a version.

    Attributes:
        layout: ``LAYOUT`` of the Danlu that wrote it.
        id: Hash of the operation, its settings, and the content that it was given.
        content: Fingerprint (BLAKE2b) of the records, as lines of Danlu's own format.
        operation: What made it.
        parents: Versions that it was made of; empty for an import.
        files: What was imported; empty for other operations.
        sources: As which it was read: path, format, columns ...
        inputs: Fingerprint of the files that were imported, and of how they were read.
        file_format: Of the file of records.
        records: How many there are.
        characters: Of all messages and responses.
        bytes: Size of the file of records.
        rejected: Rows of the imported files that were no records.
        task_types: Counts by task type, those included of which nothing is left.
        rules: Counts by fate and rule.
        taxonomy: Of the task types; None without one.
        created: When, UTC.
        danlu: Version of the program.
    """

    layout: int
    id: str
    content: str
    operation: OperationInfo
    parents: list[Parent]
    files: list[InputFile]
    sources: list[dict[str, Any]]
    inputs: str
    file_format: FileFormat
    records: int
    characters: int
    bytes: int
    rejected: int
    task_types: dict[str, TypeCounts]
    rules: list[RuleCount]
    taxonomy: dict[str, Any] | None
    created: datetime
    danlu: str

    def fates(self) -> dict[str, int]:
        """Count the rows of the ledger by fate."""
        counts: dict[str, int] = {}
        for row in self.rules:
            counts[row.fate] = counts.get(row.fate, 0) + row.count
        return counts


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        StoreError: If it is missing, or not one of this Danlu.
    """
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError("the version has no manifest.", where=str(path)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoreError(
            f"not a valid manifest: {place}: {first['msg']}. The file was changed by hand or "
            "written by another version of Danlu.",
            where=str(path),
        ) from error
