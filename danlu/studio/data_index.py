"""An index of a version's records and of its ledger, so that no request reads a whole file.

::

    .danlu/studio/data/records-<content>/   of records with this fingerprint
    .danlu/studio/data/ledger-<version>/    of a version's ledger

Columns are NumPy files, mapped and not read; ``folded.txt`` holds the text as searches compare it
(``likeness.text.fold``), so a search is a pass of ``mmap.find`` over those blocks that may hold
what is sought (``danlu.studio.grams``). A large version is read by a process of its own
(``python -m danlu.studio.data_index``), for its page stays usable meanwhile.
All of it is a cache and may be deleted.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from danlu.errors import DanluError
from danlu.records import Record
from danlu.records.lines import decode_record
from danlu.studio.grams import Grams, write_grams
from danlu.workshop.execution.blocks import damaged
from danlu.workshop.likeness.text import fold
from danlu.workshop.operations.diff import digest, loss_of, text_and_weight
from danlu.workshop.statistics import TypeStatistics
from danlu.workshop.store.decision import Entry
from danlu.workshop.store.parquet import BATCH_ROWS, read_parquet
from danlu.workshop.store.version import Version
from danlu.workshop.store.writer import characters

Kind = Literal["records", "ledger"]
LAYOUT = 2
META, FOLDED, GRAMS, PROGRESS = "meta.json", "folded.txt", "grams.bin", "progress"
TOLD_ROWS = 2000
HEADER_BYTES = 128
KEPT_SEARCHES = 8


def hashed(text: str) -> int:
    """Return 64 bits that stand for an id in a column."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def folder_of(base: Path, version: Version, kind: Kind) -> Path:
    """Return where an index is kept."""
    key = version.manifest.content if kind == "records" else version.id
    return base / f"{kind}-{key}-{version.manifest.file_format}-{LAYOUT}"


def build(base: Path, version: Version, kind: Kind) -> Path:
    """Make an index, unless it is there; two who want the same make it once.

    Raises:
        StoreError: If the version's files are not as they were written.
    """
    from filelock import FileLock

    folder = folder_of(base, version, kind)
    if folder.is_dir():
        return folder
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(base / f"{folder.name}.lock"):
        if folder.is_dir():
            return folder
        building = folder.with_name(f".{folder.name}")
        shutil.rmtree(building, ignore_errors=True)  # left by one that was killed
        building.mkdir()
        (_build_records if kind == "records" else _build_ledger)(building, version)
        building.rename(folder)
    return folder


def progress(base: Path, version: Version, kind: Kind) -> int:
    """Return how many rows an index that is being made has read."""
    folder = folder_of(base, version, kind)
    try:
        return int(folder.with_name(f".{folder.name}").joinpath(PROGRESS).read_text() or 0)
    except (FileNotFoundError, NotADirectoryError):
        return 0


class Codes(dict[Any, int]):
    """Numbers for values, in the order in which they are first met."""

    def __missing__(self, value: Any) -> int:
        self[value] = len(self)
        return self[value]


def _build_records(folder: Path, version: Version) -> None:
    types, tags = Codes(), Codes()
    columns: dict[str, array[Any]] = {
        "offset": array("q", [0]),
        "folded": array("q", [0]),
        "type": array("i"),
        "tags": array("i"),
        "characters": array("q"),
        "loss": array("d"),
        "id": array("Q"),
        "digest": array("Q"),
    }
    figures: dict[str, TypeStatistics] = {}
    with (folder / FOLDED).open("wb", buffering=1 << 20) as folded:
        for done, (record, end) in enumerate(_with_ends(version)):
            _told(folder, done)
            texts = [message.content or "" for message in record.messages]
            texts += [response.content for response in record.responses]
            folded.write("".join(f"{fold(text)}\n" for text in texts).encode())
            sizes = [(len(text), weight) for text, weight in text_and_weight(record)]
            columns["offset"].append(end)
            columns["folded"].append(folded.tell())
            columns["type"].append(types[record.task_type])
            columns["tags"].append(tags[record.tags])
            columns["characters"].append(characters(record))
            columns["loss"].append(loss_of(sizes, "token"))
            columns["id"].append(hashed(record.id))
            columns["digest"].append(int.from_bytes(digest(record)))
            figures.setdefault(record.task_type, TypeStatistics()).add(record)
    plain = {name: one.as_dict() for name, one in sorted(figures.items())}
    for one in plain.values():
        del one["sources"]  # one per record, where a crawl was imported
    meta = {"types": list(types), "tags": [list(one) for one in tags], "figures": plain}
    write_grams(folder / GRAMS, folder / FOLDED, np.asarray(columns["folded"]))
    _write(folder, columns, meta)


def _with_ends(version: Version) -> Iterator[tuple[Record, int]]:
    """Yield each record and where its line ends; for Parquet, 0."""
    if version.manifest.file_format == "parquet":
        yield from ((record, 0) for record in version.records())
        return
    end = count = 0
    try:
        with version.records_path.open("rb") as file:
            for line in file:
                end += len(line)
                yield decode_record(line), end
                count += 1
    except (ValueError, OSError) as error:
        raise damaged(str(error), version.records_path, count + 1) from error


def _build_ledger(folder: Path, version: Version) -> None:
    fates, rules, types = Codes(), Codes(), Codes()
    columns: dict[str, array[Any]] = {
        "offset": array("q", [0]),
        "fate": array("i"),
        "rule": array("i"),
        "type": array("i"),
        "id": array("Q"),
        "partner": array("Q"),
    }
    with version.ledger_path.open("rb") as file:
        ends = iter(np.cumsum([len(line) for line in file]).tolist())
    for done, entry in enumerate(version.ledger()):
        _told(folder, done)
        columns["offset"].append(next(ends))
        columns["fate"].append(fates[entry.fate])
        columns["rule"].append(rules[entry.rule])
        columns["type"].append(types[entry.task_type])
        columns["id"].append(hashed(entry.id))
        columns["partner"].append(0 if entry.partner is None else hashed(entry.partner))
    _write(folder, columns, {"fates": list(fates), "rules": list(rules), "types": list(types)})


def _told(folder: Path, done: int) -> None:
    if done % TOLD_ROWS == 0:
        (folder / PROGRESS).write_text(str(done))


def _write(folder: Path, columns: dict[str, array[Any]], meta: dict[str, Any]) -> None:
    for name, column in columns.items():
        np.save(folder / f"{name}.npy", np.asarray(column))
    (folder / META).write_text(json.dumps(meta, ensure_ascii=False), "utf-8")


class _Index:
    """Columns of a folder, mapped when they are first asked for."""

    def __init__(self, folder: Path, version: Version) -> None:
        self.version = version
        self._folder = folder
        self.meta = json.loads((folder / META).read_text("utf-8"))
        self._columns: dict[str, NDArray[Any]] = {}
        self._found: dict[Any, NDArray[np.int64]] = {}

    def column(self, name: str) -> NDArray[Any]:
        """Return one column."""
        if name not in self._columns:
            path = self._folder / f"{name}.npy"
            # An empty array, which is no more than its header, cannot be mapped.
            is_empty = path.stat().st_size <= HEADER_BYTES
            self._columns[name] = np.load(path, mmap_mode=None if is_empty else "r")
        return self._columns[name]

    def _positions(self, key: Any, mask: Any) -> NDArray[np.int64]:
        """Return where a mask holds; the last few are kept, for the next page of the same."""
        found = self._found.get(key)
        if found is None:
            found = np.flatnonzero(mask())
            # Replaced as a whole: other requests may be reading it.
            self._found = {**dict(list(self._found.items())[-KEPT_SEARCHES + 1 :]), key: found}
        return found


class RecordIndex(_Index):
    """The records of a version, found and read without reading them all."""

    def __len__(self) -> int:
        return len(self.column("type"))

    @property
    def types(self) -> list[str]:
        """Task types, by their numbers in the column."""
        return list(self.meta["types"])

    @cached_property
    def all_tags(self) -> list[str]:
        """Every tag that a record has."""
        return sorted({tag for tags in self.meta["tags"] for tag in tags})

    def find(
        self,
        *,
        text: str = "",
        task_type: str = "",
        tag: str = "",
        least: int | None = None,
        most: int | None = None,
        sort: str = "",
        among: tuple[str, NDArray[np.uint64]] | None = None,
    ) -> NDArray[np.int64]:
        """Return the positions of the records that fit, as ``danlu data show`` chooses them.

        Args:
            text: In a message or response; folded as ``Choice`` folds it.
            task_type: Or a pattern such as ``math/*``.
            tag: That they have.
            least: Characters at least.
            most: Characters at most.
            sort: Empty is the file's order; ``long`` and ``short`` are by characters.
            among: What stands for some records, and their hashed ids; None: all.
        """
        from fnmatch import fnmatchcase

        def mask() -> NDArray[np.bool_]:
            fits = np.ones(len(self), dtype=bool)
            if task_type:
                own = [fnmatchcase(one, task_type) for one in self.types]
                fits &= np.asarray([*own, False])[self.column("type")]
            if tag:
                own = [tag in tags for tags in self.meta["tags"]]
                fits &= np.asarray([*own, False])[self.column("tags")]
            if least is not None:
                fits &= self.column("characters") >= least
            if most is not None:
                fits &= self.column("characters") <= most
            if among is not None:
                fits &= np.isin(self.column("id"), among[1])
            if sought := fold(text):
                fits &= self._containing(sought)
            return fits

        which = None if among is None else among[0]
        found = self._positions((text, task_type, tag, least, most, which), mask)
        if sort in ("long", "short"):
            sizes = self.column("characters")[found]
            found = found[np.argsort(-sizes if sort == "long" else sizes, kind="stable")]
        return found

    def _containing(self, sought: str) -> NDArray[np.bool_]:
        fits = np.zeros(len(self), dtype=bool)
        fits[self.search(sought, self.places(sought))] = True
        return fits

    def places(self, sought: str) -> list[tuple[int, int]]:
        """Return where in the folded text something can be: stretches from and to, in bytes.

        Args:
            sought: Folded.
        """
        return self._grams.places(sought.encode())

    def search(
        self, sought: str, places: Iterable[tuple[int, int]], most: int | None = None
    ) -> NDArray[np.int64]:
        """Return the positions of the records that have something in their text.

        Args:
            sought: Folded.
            places: As ``places`` returns them.
            most: Look for no more records than these.
        """
        needle, ends = sought.encode(), self._folded_ends
        if not ends[-1]:
            return np.empty(0, np.int64)
        found = array("q")
        with (self._folder / FOLDED).open("rb") as file, _mapped(file) as text:
            after = 0  # the record behind the last that was found
            find, add = text.find, found.append
            for first, last in places:
                at = find(needle, first, last)
                while at >= 0:
                    # Of a common word it is the very next.
                    if at >= ends[after + 1]:
                        after = bisect_right(ends, at, after) - 1
                    add(after)
                    if len(found) == most:
                        return np.asarray(found)
                    after += 1
                    at = find(needle, ends[after], last)
        return np.asarray(found)

    @cached_property
    def _grams(self) -> Grams:
        return Grams(self._folder / GRAMS, self.column("folded"))

    @cached_property
    def _folded_ends(self) -> array[int]:
        return array("q", self.column("folded").tobytes())  # faster to look up in, one by one

    def read(self, positions: Iterable[int]) -> list[Record]:
        """Read the records at some positions, and nothing else.

        Raises:
            StoreError: If the file is not as it was written.
        """
        path = self.version.records_path
        if self.version.manifest.file_format == "parquet":
            return [_from_parquet(path, position) for position in positions]
        found, ends = [], self.column("offset")
        try:
            with path.open("rb") as file:
                for position in positions:
                    file.seek(int(ends[position]))
                    found.append(decode_record(file.read(int(ends[position + 1] - ends[position]))))
        except (ValueError, OSError) as error:
            raise damaged(str(error), path) from error
        return found

    def position(self, id_: str) -> int | None:
        """Return where the record of an id is; None if there is none."""
        order, mine = self._by_id, np.uint64(hashed(id_))
        ids = self.column("id")
        at = int(np.searchsorted(ids, mine, sorter=order))
        while at < len(ids) and ids[order[at]] == mine:
            if self.read([int(order[at])])[0].id == id_:
                return int(order[at])
            at += 1
        return None

    @cached_property
    def _by_id(self) -> NDArray[np.int64]:
        return np.argsort(self.column("id"))


def _mapped(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _from_parquet(path: Path, position: int) -> Record:
    """Read one record; ``ParquetRecords`` writes groups of ``BATCH_ROWS``."""
    group, within = divmod(position, BATCH_ROWS)
    return next(islice(read_parquet(path, [group]), within, None))


class LedgerIndex(_Index):
    """The rows of a version's ledger, found and read without reading them all."""

    def find(
        self, *, fate: str = "", rule: str = "", id_: str = "", task_type: str = ""
    ) -> NDArray[np.int64]:
        """Return the positions of the rows that fit, as ``danlu data ledger`` chooses them."""

        def mask() -> NDArray[np.bool_]:
            fits = np.ones(len(self.column("fate")), dtype=bool)
            if fate:
                fits &= self._is("fate", [one == fate for one in self.meta["fates"]])
            if rule:
                own = [one == rule or one.startswith(f"{rule}.") for one in self.meta["rules"]]
                fits &= self._is("rule", own)
            if task_type:
                fits &= self._is("type", [one == task_type for one in self.meta["types"]])
            if id_:
                mine = np.uint64(hashed(id_))
                fits &= (self.column("id") == mine) | (self.column("partner") == mine)
            return fits

        return self._positions((fate, rule, id_, task_type), mask)

    def _is(self, name: str, own: Sequence[bool]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.asarray([*own, False])[self.column(name)]
        return found

    def read(self, positions: Iterable[int]) -> list[Entry]:
        """Read the rows at some positions.

        Raises:
            StoreError: If the ledger is not as it was written.
        """
        found, ends = [], self.column("offset")
        try:
            with self.version.ledger_path.open("rb") as file:
                for position in positions:
                    file.seek(int(ends[position]))
                    line = file.read(int(ends[position + 1] - ends[position]))
                    found.append(Entry(**json.loads(line)))
        except (ValueError, TypeError, OSError) as error:
            raise damaged(str(error), self.version.ledger_path) from error
        return found


def main(base: str, version: str, kind: Kind) -> None:
    """Make an index, for a studio that does not wait for it."""
    os.nice(5)
    try:
        build(Path(base), Version(Path(version)), kind)
    except DanluError as error:
        sys.exit(str(error))  # the studio shows it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "ledger" if sys.argv[3] == "ledger" else "records")
