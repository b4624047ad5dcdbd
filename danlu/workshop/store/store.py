"""The store of dataset versions: a folder that only ever grows by whole versions.

::

    datasets/
      versions/<id>/     manifest.json, records.jsonl (or .parquet), ledger.jsonl
      names/<name>.jsonl where the name points, and pointed before
      .locks/            one per version that is being made, and one for the names

A version is built in ``versions/.building-<id>`` under the lock of its id, and renamed when all of
it is on the disk. So a killed command leaves no half version; started again it takes away what was
left, and begins anew. Two commands that want the same version make it once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu import __version__
from danlu.errors import StoreError, nearest
from danlu.records import Record, Source
from danlu.workshop.execution.blocks import Block
from danlu.workshop.execution.executor import HERE, Executor
from danlu.workshop.execution.shards import Shards, decides_by_task_type
from danlu.workshop.store.decision import Operation, Progress
from danlu.workshop.store.manifest import (
    LAYOUT,
    FileFormat,
    InputFile,
    Manifest,
    OperationInfo,
    Parent,
)
from danlu.workshop.store.names import (
    PREFIX,
    VERSION_ID,
    NameMovedError,
    Names,
    Pointing,
    check_name,
    pointed_to,
)
from danlu.workshop.store.settings import settings_of
from danlu.workshop.store.version import MANIFEST, REJECTED, Version
from danlu.workshop.store.watch import REPORT_EVERY, Watched
from danlu.workshop.store.writer import VersionWriter

if TYPE_CHECKING:
    from danlu.workshop.taxonomy import Taxonomy

DEFAULT_STORE = "datasets"
STORE_VARIABLE = "DANLU_DATASETS"
_BUILDING, _REMOVING = ".building-", ".removing-"


def no_progress(stage: str, done: int, total: int | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Material:
    """What a version is made of.

    Attributes:
        records: Makes a new stream of the records.
        count: How many they are; None if nobody knows before they are read.
        identity: What stands for them in the version's id.
        parents: Versions that they come from.
        files: Files that they come from.
        sources: As which those are read.
        taxonomy: Of the version that is made.
        file_format: Of the version that is made.
        rejected: Says, when all is read, how many rows were no records.
        check: Called when all is read, and raises if it was not what ``identity`` stands for.
        blocks: The same records in blocks, where they can be read so.
    """

    records: Callable[[Path], Iterator[Record]]
    count: int | None
    identity: Sequence[Any]
    parents: Sequence[Parent] = ()
    files: Sequence[InputFile] = ()
    sources: Sequence[Source] = ()
    taxonomy: dict[str, Any] | None = None
    file_format: FileFormat = "jsonl"
    rejected: Callable[[], int] = field(default=lambda: 0)
    check: Callable[[], None] = field(default=lambda: None)
    blocks: Callable[[], Iterator[Block]] | None = None


class Store:
    """Dataset versions, their names and ledgers.

    Args:
        path: The folder; None is ``$DANLU_DATASETS``, or ``datasets`` in the working directory. It
            need not exist.
        executor: Where operations are done that can be done elsewhere; the versions are the same.

    Raises:
        StoreError: If something is there that is no folder.
    """

    def __init__(self, path: Path | str | None = None, executor: Executor = HERE) -> None:
        self.executor = executor
        self.path = Path(path or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)
        if self.path.exists() and not self.path.is_dir():
            raise StoreError("is a file; datasets are kept in a folder.", where=str(self.path))
        self._versions = self.path / "versions"
        self.names = Names(self.path / "names")

    # Finding -----------------------------------------------------------------------------

    def versions(self, faults: list[StoreError] | None = None) -> list[Version]:
        """Return all versions, oldest first.

        Args:
            faults: Takes the errors of versions whose manifest cannot be read, which are then left
                out; None: such an error is raised.

        Raises:
            StoreError: If a manifest cannot be read.
        """
        found = []
        for name in self._ids():
            version = Version(self._versions / name)
            try:
                found.append((version.manifest.created, version.id, version))
            except StoreError as error:
                if faults is None:
                    raise
                faults.append(error)
        return [version for _, _, version in sorted(found, key=lambda one: one[:2])]

    def find(self, given: str) -> Version:
        """Find a version by ``NAME``, ``NAME@2``, ``NAME@v3f9``, its id, or how its id begins.

        Raises:
            StoreError: If there is none, with the nearest name, or more than one.
        """
        name, at, which = given.partition("@")
        history = self.names.history(name) if _is_plain(name) else []
        if history:
            id_ = pointed_to(history, which, name) if at else history[-1].version
            return self._version(id_, given)
        if VERSION_ID.fullmatch(given) or PREFIX.fullmatch(given):
            found = [known for known in self._ids() if known.startswith(given)]
            if len(found) == 1:
                return Version(self._versions / found[0])
            if found:
                raise StoreError(f"{len(found)} versions begin with {given!r}: {', '.join(found)}.")
        raise StoreError(f"there is no dataset {name!r}.{self._hint(name)}", where=str(self.path))

    def has(self, given: str) -> bool:
        """Whether ``find`` would know the name or id before the ``@``."""
        name = given.partition("@")[0]
        if _is_plain(name) and self.names.history(name):
            return True
        return bool(PREFIX.fullmatch(given) or VERSION_ID.fullmatch(given)) and any(
            known.startswith(given) for known in self._ids()
        )

    def names_of(self, version: Version) -> list[str]:
        """Return the names that point to a version now."""
        known = self.names.all().items()
        return [name for name, history in known if history[-1].version == version.id]

    # Making ------------------------------------------------------------------------------

    def apply(
        self,
        operation: Operation,
        parent: Version,
        *,
        name: str | None = None,
        seen: str | None = None,
        taxonomy: Taxonomy | None = None,
        progress: Progress = no_progress,
    ) -> Version:
        """Make a version by an operation on another, or find it if it was made before.

        Args:
            operation: What is done.
            parent: To whose records.
            name: Shall point to the result.
            seen: The version to which that name must point, empty where it must be free; else
                the result is there, and nothing points to it. None: it may point anywhere.
            taxonomy: Of the result; None is the parent's.
            progress: Told how far the work is.

        Returns:
            The version; ``is_new`` says whether it was made now.

        Raises:
            OperationFaultError: If the operation passes over a record or decides twice.
            NameMovedError: If the name points elsewhere than ``seen``.
        """
        manifest = parent.manifest
        tree = taxonomy.settings() if taxonomy else manifest.taxonomy
        material = Material(
            records=lambda _: parent.records(),
            blocks=parent.blocks,
            count=manifest.records,
            identity=[manifest.content, tree],
            parents=[Parent(id=parent.id, content=manifest.content)],
            taxonomy=tree,
            file_format=manifest.file_format,
        )
        return self.make(operation, material, name=name, seen=seen, progress=progress)

    def make(
        self,
        operation: Operation,
        material: Material,
        *,
        name: str | None = None,
        seen: str | None = None,
        progress: Progress = no_progress,
    ) -> Version:
        """Make a version of any material, or find it if it was made before; see ``apply``."""
        if name is not None:
            check_name(name)
        info = OperationInfo(
            name=operation.name, revision=operation.revision, settings=settings_of(operation)
        )
        id_ = _version_id(info, material.identity)
        path = self._versions / id_
        is_new = False
        if not path.is_dir():
            self._versions.mkdir(parents=True, exist_ok=True)
            self._clear_leftovers()
            with self._lock(id_):
                if not path.is_dir():  # Another command may have made it meanwhile.
                    self._build(path, info, operation, material, progress)
                    is_new = True
        version = Version(path, is_new=is_new)
        if name is not None:
            try:
                self.name(version, name, seen)
            except NameMovedError as error:
                raise NameMovedError(name, error.now, error.seen, version.id) from None
        return version

    def name(self, version: Version, name: str, seen: str | None = None) -> bool:
        """Let a name point to a version; False if it does already.

        Args:
            version: To which.
            name: The name.
            seen: Where it must point when that is done, empty where nowhere; None: anywhere. Of
                two who have seen the same, one moves the name and the other is told.

        Raises:
            NameMovedError: If it points elsewhere.
            StoreError: If the name could be taken for something else.
        """
        check_name(name)
        with self._lock("names"):
            return self.names.point(name, version.id, seen)

    def history(self, name: str) -> list[Pointing]:
        """Return where a name points and pointed, oldest first.

        Raises:
            StoreError: If there is no such name, with the nearest.
        """
        history = self.names.history(name) if _is_plain(name) else []
        if not history:
            raise StoreError(f"no dataset is called {name!r}.{self._hint(name)}")
        return history

    def unname(self, name: str) -> None:
        """Take a name away; the versions to which it pointed stay.

        Raises:
            StoreError: If there is no such name.
        """
        with self._lock("names"):
            self.history(name)
            self.names.forget(name)

    def remove(self, version: Version) -> None:
        """Remove a version, whoever uses it; see ``danlu.workshop.store.removing``.

        It is put aside at once and then deleted, so that no half version is ever there.
        """
        with self._lock(version.id):
            aside = version.path.with_name(f"{_REMOVING}{version.id}")
            version.path.rename(aside)
            _to_disk(self._versions)
            shutil.rmtree(aside)

    def _build(
        self,
        path: Path,
        info: OperationInfo,
        operation: Operation,
        material: Material,
        progress: Progress,
    ) -> None:
        building = path.with_name(_BUILDING + path.name)
        shutil.rmtree(building, ignore_errors=True)  # left by a command that was killed
        building.mkdir()
        try:
            manifest = _write(
                building, path.name, info, operation, material, progress, self.executor
            )
            _write_whole(building / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
            _to_disk(building)
            building.rename(path)
            _to_disk(path.parent)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    # Inside ------------------------------------------------------------------------------

    def _ids(self) -> list[str]:
        if not self._versions.is_dir():
            return []
        return sorted(name for name in os.listdir(self._versions) if VERSION_ID.fullmatch(name))

    def _version(self, id_: str, given: str) -> Version:
        path = self._versions / id_
        if not path.is_dir():
            raise StoreError(
                f"{given!r} is the version {id_}, whose folder was removed. Make it again.",
                where=str(self.path),
            )
        return Version(path)

    def _hint(self, name: str) -> str:
        known = list(self.names.all())
        near = nearest(name, known)
        if near:
            return f" Did you mean {near!r}?"
        if known:
            more = ", ..." if len(known) > 8 else ""
            return f" There are: {', '.join(known[:8])}{more}."
        return " The store is empty; 'danlu data import FILES --name NAME' begins one."

    def _lock(self, name: str, timeout_s: float = -1) -> Any:
        from filelock import FileLock

        folder = self.path / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", timeout=timeout_s)

    def _clear_leftovers(self) -> None:
        """Remove what killed commands have left: half versions that nobody is at work on."""
        from filelock import Timeout

        for mark in (_BUILDING, _REMOVING):
            for left in self._versions.glob(f"{mark}*"):
                with suppress(Timeout), self._lock(left.name.removeprefix(mark), 0):
                    shutil.rmtree(left, ignore_errors=True)


def _write(
    building: Path,
    id_: str,
    info: OperationInfo,
    operation: Operation,
    material: Material,
    progress: Progress,
    executor: Executor,
) -> Manifest:
    """Write records and ledger, and return the manifest."""
    with VersionWriter(building, material.file_format) as out:
        if material.blocks and isinstance(executor, Shards) and decides_by_task_type(operation):
            for done, decision in enumerate(executor.by_task_type(operation, material.blocks()), 1):
                out.add(decision)
                if done % REPORT_EVERY == 0:
                    progress(f"{info.name}: records", done, material.count)
        else:
            records = partial(material.records, building / REJECTED)
            watched = Watched(records, material.count, info.name, progress, material.blocks)
            for decision in operation.decide(watched, progress):
                out.add(watched.settled(decision))
            watched.must_be_done()
    material.check()
    return Manifest(
        layout=LAYOUT,
        id=id_,
        content=out.content(),
        operation=info,
        parents=list(material.parents),
        files=list(material.files),
        sources=[asdict(source) for source in material.sources],
        inputs=_digest(material.identity),
        file_format=material.file_format,
        records=out.records,
        characters=out.characters,
        bytes=out.bytes,
        rejected=material.rejected(),
        task_types=out.task_types(),
        rules=out.rules(),
        taxonomy=material.taxonomy,
        created=datetime.now(UTC),
        danlu=__version__,
    )


def _version_id(info: OperationInfo, identity: Sequence[Any]) -> str:
    return "v" + _digest([info.name, info.revision, info.settings, _digest(identity)])[:16]


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _is_plain(name: str) -> bool:
    """Whether a name may be part of a path."""
    return bool(name) and not set(name) & {"/", "\\", "\0"} and name[0] != "."


def _write_whole(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _to_disk(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


__all__ = ["DEFAULT_STORE", "STORE_VARIABLE", "Material", "Pointing", "Store", "no_progress"]
