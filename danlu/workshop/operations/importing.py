"""From files to the first version of a dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from danlu.errors import RecordError, StoreError
from danlu.records import Reading, Record, Source, fingerprint, read_records
from danlu.records.reading import OnBadRecord
from danlu.records.record import UNLABELLED
from danlu.records.source import HUB_PREFIX, called, expand
from danlu.workshop.store.decision import Decision, Progress, edit, keep
from danlu.workshop.store.manifest import FileFormat, InputFile
from danlu.workshop.store.store import Material, Store, no_progress
from danlu.workshop.store.version import Version
from danlu.workshop.taxonomy import Taxonomy

Unknown = Literal["stop", "keep", "unlabelled"]


@dataclass(frozen=True)
class Import:
    """Take records as they are read.

    Attributes:
        tags: Given to every record, beside those that it has.
        taxonomy: The task types that there are; None takes any.
        unknown: What a record of another task type does: stop the import, be kept as it is, or
            become ``unlabelled/<its skill>``.
        on_bad_record: Whether a row that is no record stops the import or is written to
            ``rejected.jsonl`` of the version.
    """

    name: ClassVar[str] = "import"
    revision: ClassVar[int] = 2

    tags: tuple[str, ...] = ()
    taxonomy: Taxonomy | None = None
    unknown: Unknown = "stop"
    on_bad_record: OnBadRecord = "stop"

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep every record, tagged and with a task type that is known."""
        for record in records:
            if self.tags:
                tags = dict.fromkeys((*record.tags, *self.tags))
                record = replace(record, tags=tuple(tags))
            if self.taxonomy is None or record.task_type in self.taxonomy.skills:
                yield keep(record)
            else:
                yield self._unknown(record)

    def _unknown(self, record: Record) -> Decision:
        area, _, skill = record.task_type.partition("/")
        if area == UNLABELLED or self.unknown == "keep":
            return keep(record)
        if self.unknown == "stop":
            assert self.taxonomy is not None
            raise RecordError(
                f"the task type {record.task_type!r} is not in the taxonomy."
                f"{self.taxonomy.hint(record.task_type)} --unknown keep takes it all the same, "
                "--unknown unlabelled leaves it for 'danlu data label'.",
                where=f"record {record.id} of {record.source}",
            )
        changed = replace(record, task_type=f"{UNLABELLED}/{skill}")
        return edit(changed, "unknown task type", record.task_type)


def import_files(
    store: Store,
    sources: Sequence[Source],
    operation: Import | None = None,
    *,
    name: str | None = None,
    file_format: FileFormat = "jsonl",
    progress: Progress = no_progress,
) -> Version:
    """Make a version of files, streaming: memory holds the ids of the records, not their text.

    The version's id covers what the files hold, how they are named and how they are read; the same
    again costs the time of hashing them.

    Args:
        store: Where the version is made.
        sources: Files, folders, patterns or hub datasets.
        operation: What is done with the records; as they are by default.
        name: Shall point to the version.
        file_format: Of its file of records.
        progress: Told how many records have been read.

    Raises:
        RecordError: If a source cannot be read, or a record's task type is not known.
        StoreError: If a file changes while it is read.
    """
    operation = operation or Import()
    files = [file for source in sources for file in expand(source)[0]]
    before = _sizes([file.name for file in files])
    reading: list[Reading] = []

    def records(rejected: Path) -> Iterator[Record]:
        rejected.unlink(missing_ok=True)
        reading[:] = [
            read_records(sources, on_bad_record=operation.on_bad_record, rejected=rejected)
        ]
        return reading[0]

    def check() -> None:
        after = _sizes([file.name for file in files])
        for file in files:
            if after[file.name] != before[file.name]:
                raise StoreError("the file changed while it was read.", where=file.name)

    taxonomy = operation.taxonomy.settings() if operation.taxonomy else None
    material = Material(
        records=records,
        count=None,
        identity=[
            [[called(source.path), source.format, source.split] for source in sources],
            [called(file.name) for file in files],
            fingerprint(sources),
        ],
        files=[
            InputFile(name=called(name), bytes=None if stat is None else stat[0])
            for name, stat in before.items()
        ],
        sources=sources,
        taxonomy=taxonomy,
        file_format=file_format,
        rejected=lambda: reading[0].rejected_count,
        check=check,
    )
    return store.make(operation, material, name=name, progress=progress)


def _sizes(names: Sequence[str]) -> dict[str, tuple[int, int] | None]:
    """Return size and time of change by name; None for what is no file."""
    found: dict[str, tuple[int, int] | None] = {}
    for name in names:
        if name.startswith(HUB_PREFIX):
            found[name] = None
        else:
            stat = os.stat(name)
            found[name] = (stat.st_size, stat.st_mtime_ns)
    return found
