"""Several versions as one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from danlu.errors import StoreError
from danlu.records import Record
from danlu.records.lines import encode_record
from danlu.workshop.store.decision import Decision, Progress, drop, edit, keep
from danlu.workshop.store.manifest import Parent
from danlu.workshop.store.store import Material, Store, no_progress
from danlu.workshop.store.version import Version
from danlu.workshop.taxonomy import Skill, Taxonomy

SAME = "same record"
OTHER = "same id"


@dataclass(frozen=True)
class Merge:
    """Put versions one after another.

    A record that comes again as it was is left out. One that comes again under the same id with
    another content is ``<id>@<version>``, so that both stay.
    """

    name: ClassVar[str] = "merge"
    revision: ClassVar[int] = 1

    clashes: _Clashes = field(default_factory=lambda: _Clashes(), metadata={"setting": False})

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep every record but what comes again."""
        for record in records:
            said = self.clashes.decisions
            yield said.pop(record.id) if record.id in said else keep(record)


class _Clashes:
    """Decisions about records whose id another version has too, by the id that they get."""

    def __init__(self) -> None:
        self.decisions: dict[str, Decision] = {}


def merge(
    store: Store,
    versions: Sequence[Version],
    *,
    name: str | None = None,
    progress: Progress = no_progress,
) -> Version:
    """Make one version of several, in their order.

    Raises:
        StoreError: If two taxonomies say different things of a task type.
    """
    operation = Merge()
    material = Material(
        records=lambda _: _one_after_another(versions, operation.clashes),
        count=sum(len(version) for version in versions),
        identity=[[one.id, one.manifest.content, one.manifest.taxonomy] for one in versions],
        parents=[Parent(id=one.id, content=one.manifest.content) for one in versions],
        taxonomy=_taxonomy(versions),
        file_format=versions[0].manifest.file_format,
    )
    return store.make(operation, material, name=name, progress=progress)


def _one_after_another(versions: Sequence[Version], clashes: _Clashes) -> Iterator[Record]:
    """Stream the records, each under an id of its own, and note what is to be said of clashes."""
    seen: dict[str, bytes] = {}
    for number, version in enumerate(versions):
        for record in version.records():
            digest = hashlib.blake2b(encode_record(record), digest_size=8).digest()
            first = seen.get(record.id)
            if first is None:
                seen[record.id] = digest
                yield record
                continue
            renamed = replace(record, id=_free(f"{record.id}@{version.id[:8]}", seen))
            seen[renamed.id] = digest
            if first == digest:
                said = drop(renamed, SAME, partner=record.id, detail=f"again in {version.id}")
            else:
                said = edit(renamed, OTHER, record.id, f"another one of version {number + 1}")
            clashes.decisions[renamed.id] = said
            yield renamed


def _free(name: str, seen: dict[str, bytes]) -> str:
    number, free = 1, name
    while free in seen:
        number += 1
        free = f"{name}-{number}"
    return free


def _taxonomy(versions: Sequence[Version]) -> dict[str, object] | None:
    skills: dict[str, Skill] = {}
    for version in versions:
        for task_type, skill in (version.taxonomy or Taxonomy()).skills.items():
            if skills.setdefault(task_type, skill) != skill:
                raise StoreError(
                    f"the taxonomies say different things of {task_type!r}. Import one of the "
                    "datasets again with the other's taxonomy.",
                    where=str(Path(version.path)),
                )
    return Taxonomy(skills).settings() if skills else None
