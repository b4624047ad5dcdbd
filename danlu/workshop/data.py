"""What a user calls data: a dataset version by name or id, or files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from glob import has_magic
from typing import TYPE_CHECKING

from danlu.errors import StoreError
from danlu.records import Record, Source, read_records
from danlu.records.source import HUB_PREFIX, expand
from danlu.workshop.execution.blocks import Block, blocks_of
from danlu.workshop.operations.importing import import_files
from danlu.workshop.operations.merge import merge
from danlu.workshop.store.decision import Progress
from danlu.workshop.store.store import Store, no_progress
from danlu.workshop.store.version import Version

if TYPE_CHECKING:
    from danlu.config.data_sections import DataSource

VERSION_PREFIX = "version:"


def named_version(store: Store, data: str) -> Version | None:
    """Find the version that data name; None if they are files.

    ``version:NAME`` is always a version and ``./NAME`` always a file.

    Raises:
        StoreError: If the name is that of a version and of a file, or of neither.
    """
    if data.startswith(VERSION_PREFIX):
        return store.find(data.removeprefix(VERSION_PREFIX))
    if data.startswith(HUB_PREFIX) or has_magic(data):
        return None
    is_file = os.path.exists(os.path.expanduser(data))
    if store.has(data):
        if is_file and os.sep not in data:
            raise StoreError(
                f"{data!r} is a dataset and also a file or folder here. Write "
                f"{VERSION_PREFIX}{data} or .{os.sep}{data}."
            )
        return store.find(data)
    if is_file or os.sep in data or os.path.splitext(data.partition("@")[0])[1]:
        return None
    return store.find(data)  # It says what there is.


def as_version(
    store: Store, data: str | Sequence[str], *, progress: Progress = no_progress
) -> Version:
    """Return data as a version: found, imported, or several of them merged.

    Raises:
        DanluError: If there are none such, or they cannot be read.
    """
    names = [data] if isinstance(data, str) else data
    versions = [
        named_version(store, one) or import_files(store, [Source(one)], progress=progress)
        for one in names
    ]
    return versions[0] if len(versions) == 1 else merge(store, versions, progress=progress)


def records_of(store: Store, data: str | Sequence[str]) -> DataRecords:
    """Stream the records of data without making a version; several one after another.

    Raises:
        DanluError: When gone through, if there are none such, or they cannot be read.
    """
    return DataRecords(store, [data] if isinstance(data, str) else data)


class DataRecords:
    """The records of data, streamed or in blocks; see ``records_of``."""

    def __init__(self, store: Store, names: Sequence[str]) -> None:
        self._store = store
        self._names = names

    def __iter__(self) -> Iterator[Record]:
        for name in self._names:
            version = named_version(self._store, name)
            yield from version.records() if version else read_records(name)

    def blocks(self) -> Iterator[Block]:
        """Return the blocks of the records."""
        for name in self._names:
            version = named_version(self._store, name)
            yield from version.blocks() if version else blocks_of(read_records(name))

    def size_bytes(self) -> int:
        """Return about how much there is to be read; 0 for what is no version and no file."""
        total = 0
        for name in self._names:
            if version := named_version(self._store, name):
                total += version.manifest.bytes
            elif not name.startswith(HUB_PREFIX):
                total += sum(os.path.getsize(file.name) for file in expand(Source(name))[0])
        return total


def recipe_sources(
    sources: Iterable[DataSource], store: Store | None = None
) -> tuple[list[Source], list[Version]]:
    """Turn the sources of a recipe into files: ``version:NAME`` is the file of its records.

    Args:
        sources: As the recipe names them.
        store: Where versions are; None is the one of the working directory.

    Returns:
        The sources, and the versions among them.

    Raises:
        StoreError: If a version is not there.
        RecordError: If a source is out of range.
    """
    store = store or Store()
    found: list[Source] = []
    versions: list[Version] = []
    for given in sources:
        source = Source(**given.reading())
        if source.path.startswith(VERSION_PREFIX):
            version = store.find(source.path.removeprefix(VERSION_PREFIX))
            versions.append(version)
            source = replace(source, path=version.source().path, format="danlu")
        found.append(source)
    return found, versions
