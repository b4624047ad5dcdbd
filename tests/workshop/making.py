"""Records, and operations that do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from danlu.records import Message, Record, Source, write_records
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.decision import Decision, Progress
from danlu.workshop.store.store import Store
from danlu.workshop.store.version import Version


def chat(
    id_: str, prompt: str = "Hi", answer: str = "Hello", task_type: str = "a/b", *tags: str
) -> Record:
    messages = (Message("user", prompt), Message("assistant", answer))
    return Record(id_, task_type, messages, tags=tags, source="s")


def version_of(store: Store, folder: Path, *records: Record, name: str | None = None) -> Version:
    path = folder / f"{name or 'given'}.jsonl"
    write_records(records, path)
    return import_files(store, [Source(str(path), format="danlu")], name=name)


@dataclass(frozen=True)
class Doing:
    """An operation made of a function over the records."""

    name: ClassVar[str] = "doing"
    revision: ClassVar[int] = 1

    function: Callable[[Iterable[Record]], Iterable[Decision]] = field(metadata={"setting": False})
    setting: object = None

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        yield from self.function(records)
