"""The datasets of the workspace, with an index of each that is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from danlu.errors import StoreError
from danlu.runs.files import write_atomically
from danlu.studio import check_index
from danlu.studio.check_index import CheckIndex
from danlu.studio.data_index import Kind, LedgerIndex, RecordIndex, build, folder_of, progress
from danlu.studio.workspace import Workspace
from danlu.workshop.store.store import DEFAULT_STORE, STORE_VARIABLE, Store
from danlu.workshop.store.version import Version

INLINE_BYTES = 8_000_000
"""A file up to this size is read in the request, which takes under a second."""
KEPT = 8
BY_HAND = ("drop", "tag", "retype", "revise")
"""Operations that an undo takes back."""
MOST_EDITS = 200
"""Edits by hand across which findings are still looked for."""
T = TypeVar("T")


@dataclass(frozen=True)
class Difference:
    """Positions of records that one version has more, less or otherwise than another.

    Attributes:
        added: In the second; the first has no record of that id.
        removed: In the first; the second has no record of that id.
        changed: In the second; the first's record of that id says something else.
        retyped: In the second; the first's record of that id has another task type.
    """

    added: NDArray[np.int64]
    removed: NDArray[np.int64]
    changed: NDArray[np.int64]
    retyped: NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """Tokens of a version, by task type.

    Attributes:
        model: Whose tokens: a run as ``FOLDER/NAME``, or ``builtin:NAME``.
        job: That has counted; later ones sort later.
        task_types: ``records``, ``tokens``, ``trained``, ``loss`` and ``left_out`` of each.
    """

    model: str
    job: str
    task_types: Mapping[str, Mapping[str, float]]


class Datasets:
    """The store of a workspace: ``$DANLU_DATASETS`` or ``datasets``, as for the commands.

    Attributes:
        store: The versions and names.
    """

    def __init__(self, workspace: Workspace) -> None:
        path = os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
        self.store = Store(workspace.root / path)
        self._workspace = workspace
        self._lock = threading.Lock()
        self._kept: dict[Any, Any] = {}
        self._reading: dict[Path, subprocess.Popen[bytes]] = {}

    @property
    def base(self) -> Path:
        """Where the indexes are."""
        return self._workspace.own / "data"

    def records(self, version: Version) -> RecordIndex | None:
        """Return the index of a version's records; None while a process makes it.

        Raises:
            StoreError: If the version's files are not as they were written.
        """
        return self._index(version, "records", RecordIndex)

    def ledger(self, version: Version) -> LedgerIndex | None:
        """Return the index of a version's ledger; None while a process makes it.

        Raises:
            StoreError: If it is not as it was written.
        """
        return self._index(version, "ledger", LedgerIndex)

    def is_read(self, version: Version, kind: Kind) -> bool:
        """Whether the index of a version is there."""
        return folder_of(self.base, version, kind).is_dir()

    def read_so_far(self, version: Version, kind: Kind) -> int:
        """Return how many rows have been read of what is not there yet."""
        return progress(self.base, version, kind)

    def difference(self, before: RecordIndex, after: RecordIndex) -> Difference:
        """Compare two versions by their columns."""
        key = (before.version.manifest.content, after.version.manifest.content)
        found: Difference = self._keep(key, lambda: _difference(before, after))
        return found

    def _index(self, version: Version, kind: Kind, make: Callable[[Path, Version], T]) -> T | None:
        folder = folder_of(self.base, version, kind)
        if not folder.is_dir():
            file = version.records_path if kind == "records" else version.ledger_path
            if file.exists() and file.stat().st_size > INLINE_BYTES:
                command = "danlu.studio.data_index", str(self.base), str(version.path.resolve())
                self._read_apart(folder, version, [*command, kind])
                return None
            build(self.base, version, kind)
        found: T = self._keep((folder, version.id), lambda: make(folder, version))
        return found

    def checked(self, version: Version) -> tuple[Version, CheckIndex] | None:
        """Return what the latest check has found in a version, or in that which it was edited from.

        Returns:
            The version that was checked, and its findings; None if none was.
        """
        for one in self._edited_from(version):
            folder = check_index.latest(self.base, one)
            if folder is not None:
                found: CheckIndex = self._keep(folder, partial(CheckIndex, folder))
                return one, found
        return None

    def take_check(self, version: Version, job: Path) -> bool:
        """Read what a job has found in a version; False while a process does.

        Raises:
            StoreError: If that cannot be read.
        """
        folder = check_index.folder_of(self.base, version, job.name)
        newest = check_index.latest(self.base, version)
        if newest is not None and newest >= folder:
            return True
        findings = job / check_index.FINDINGS
        if findings.exists() and findings.stat().st_size > INLINE_BYTES:
            command = "danlu.studio.check_index", str(folder), str(job.resolve())
            self._read_apart(folder, version, command)
            return False
        check_index.build(folder, job)
        return True

    def counted(self, version: Version) -> Counted | None:
        """Return the tokens of a version as they were counted last; None if they were not."""
        path = self._counts(version)
        try:
            return Counted(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return None

    def take_counts(self, version: Version, model: str, job: str, printed: str) -> None:
        """Keep what a job has counted; an older job's is not put in the place of a later one's.

        Raises:
            StoreError: If it has printed something else.
        """
        known = self.counted(version)
        if known is not None and known.job >= job:
            return
        try:
            counts = json.loads(printed)["tokens"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError("the counts cannot be read.", where=version.id) from error
        self.base.mkdir(parents=True, exist_ok=True)
        found = json.dumps(asdict(Counted(model, job, counts)), ensure_ascii=False)
        write_atomically(self._counts(version), found)

    def _counts(self, version: Version) -> Path:
        return self.base / f"tokens-{version.manifest.content}.json"

    def _edited_from(self, version: Version) -> Iterator[Version]:
        """Yield a version and those from which it was made by edits by hand."""
        yield version
        for _ in range(MOST_EDITS):
            parents = version.manifest.parents
            if version.manifest.operation.name not in BY_HAND or len(parents) != 1:
                return
            if not self.store.has(parents[0].id):
                return
            version = self.store.find(parents[0].id)
            yield version

    def _read_apart(self, folder: Path, version: Version, module: Sequence[str]) -> None:
        """Let a process make an index, once; ``module`` with its arguments.

        Raises:
            StoreError: If it has failed.
        """
        with self._lock:
            process = self._reading.get(folder)
            if process and process.poll() is None:
                return
            if process and process.returncode:
                del self._reading[folder]
                said = _log(folder).read_text("utf-8").strip().splitlines()
                raise StoreError(said[-1] if said else "cannot be read.", where=version.id)
            command = [sys.executable, "-m", *module]
            self.base.mkdir(parents=True, exist_ok=True)
            with _log(folder).open("wb") as log:
                self._reading[folder] = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                )

    def _keep(self, key: Any, make: Callable[[], Any]) -> Any:
        with self._lock:
            found = self._kept.pop(key, None)
        found = found or make()
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return found


def _log(folder: Path) -> Path:
    """Return where a process that makes an index says why it could not."""
    return folder.with_name(f"{folder.name}.log")


def _difference(before: RecordIndex, after: RecordIndex) -> Difference:
    first, second = before.column("id"), after.column("id")
    _, at_first, at_second = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    names = sorted({*before.types, *after.types})
    number = {name: at for at, name in enumerate(names)}

    def types(index: RecordIndex, at: NDArray[np.int64]) -> NDArray[np.int64]:
        own = np.asarray([*(number[name] for name in index.types), -1])
        found: NDArray[np.int64] = own[index.column("type")[at]]
        return found

    changed = before.column("digest")[at_first] != after.column("digest")[at_second]
    retyped = types(before, at_first) != types(after, at_second)
    return Difference(
        added=np.setdiff1d(np.arange(len(second)), at_second, assume_unique=True),
        removed=np.setdiff1d(np.arange(len(first)), at_first, assume_unique=True),
        changed=np.sort(at_second[changed]),
        retyped=np.sort(at_second[retyped]),
    )
