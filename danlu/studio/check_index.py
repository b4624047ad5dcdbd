"""What ``danlu data check`` has found in a version, so that a page finds the records again.

::

    .danlu/studio/data/checks-<version>-<job>/   findings.jsonl, columns, meta.json

The check itself is a job, which writes findings and verdicts into its own folder; here they are
read once and kept, also when the job is forgotten. Records are known by their ids, so what was
found in a version is shown in those made of it by hand, too.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.errors import StoreError
from danlu.studio.data_index import Codes, hashed
from danlu.workshop.store.version import Version

LAYOUT = 1
FINDINGS, META = "findings.jsonl", "meta.json"


def folder_of(base: Path, version: Version, job: str) -> Path:
    """Return where the findings of a job are kept; later jobs sort later."""
    return base / f"checks-{version.id}-{LAYOUT}-{job}"


def latest(base: Path, version: Version) -> Path | None:
    """Return where the findings of the latest check of a version are; None if it has none."""
    return max(base.glob(f"checks-{version.id}-{LAYOUT}-*"), default=None)


def build(folder: Path, job: Path) -> None:
    """Read what a job has found.

    Args:
        folder: Where it is kept; it appears when it is whole, and takes the place of older ones.
        job: The job's folder, with its findings and what it printed.

    Raises:
        StoreError: If that is not what a check prints.
    """
    if folder.is_dir():
        return
    building = folder.with_name(f".{folder.name}-{os.getpid()}")
    building.mkdir(parents=True)
    try:
        try:
            printed = json.loads((job / "stdout.txt").read_text("utf-8"))
            shutil.copyfile(job / FINDINGS, building / FINDINGS)
            columns, meta = _read(building / FINDINGS)
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(f"what the check has found cannot be read: {error}.") from error
        for name, column in columns.items():
            np.save(building / f"{name}.npy", np.asarray(column))
        (building / META).write_text(
            json.dumps({**meta, "verdicts": printed["verdicts"]}, ensure_ascii=False), "utf-8"
        )
        try:
            building.rename(folder)
        except OSError:  # another has made it meanwhile
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    stem = folder.name.rpartition(f"-{LAYOUT}-")[0]
    for older in folder.parent.glob(f"{stem}-{LAYOUT}-*"):
        if older.name < folder.name:
            shutil.rmtree(older, ignore_errors=True)


def _read(path: Path) -> tuple[dict[str, array[Any]], dict[str, Any]]:
    rules, types = Codes(), Codes()
    levels: dict[str, str] = {}
    columns: dict[str, array[Any]] = {
        "offset": array("q", [0]),
        "id": array("Q"),
        "rule": array("i"),
        "type": array("i"),
    }
    end = 0
    with path.open("rb") as file:
        for line in file:
            row = json.loads(line)
            end += len(line)
            rule = f"{row['check']}.{row['rule']}"
            levels[rule] = row["level"]
            columns["offset"].append(end)
            columns["id"].append(hashed(row["record_id"]))
            columns["rule"].append(rules[rule])
            columns["type"].append(types[row["task_type"]])
    return columns, {"rules": list(rules), "types": list(types), "levels": levels}


class CheckIndex:
    """The findings of one check, by rule, task type and record.

    Attributes:
        verdicts: As the command prints them.
        rules: Names of rules that have found something, by their number.
        levels: Of each rule: ``fault`` or ``attention``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        meta = json.loads((folder / META).read_text("utf-8"))
        self.verdicts: list[dict[str, Any]] = meta["verdicts"]
        self.rules: list[str] = meta["rules"]
        self.levels: dict[str, str] = meta["levels"]
        self._types: list[str] = meta["types"]
        self._columns = {
            name: np.load(folder / f"{name}.npy") for name in ("offset", "id", "rule", "type")
        }
        self._order = np.argsort(self._columns["id"], kind="stable")

    def __len__(self) -> int:
        return len(self._columns["id"])

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how many findings each rule has in each task type."""
        pairs = np.stack([self._columns["rule"], self._columns["type"]], axis=1)
        found, counts = np.unique(pairs, axis=0, return_counts=True)
        return Counter(
            {
                (self.rules[rule], self._types[type_]): int(count)
                for (rule, type_), count in zip(found.tolist(), counts.tolist(), strict=True)
            }
        )

    def ids(self, rule: str) -> NDArray[np.uint64]:
        """Return the hashed ids of the records in which a rule has found something."""
        return np.unique(self._columns["id"][self._is(rule)])

    def of(self, id_: str, rule: str = "") -> list[dict[str, Any]]:
        """Return what was found in a record, as rows of the findings."""
        ids, mine = self._columns["id"], np.uint64(hashed(id_))
        first = int(np.searchsorted(ids, mine, sorter=self._order))
        places = []
        for at in self._order[first:].tolist():
            if ids[at] != mine:
                break
            places.append(at)
        return [
            row
            for row in self._rows(sorted(places))
            if row["record_id"] == id_ and rule in ("", f"{row['check']}.{row['rule']}")
        ]

    def _is(self, rule: str) -> NDArray[np.bool_]:
        number = self.rules.index(rule) if rule in self.rules else -1
        fits: NDArray[np.bool_] = self._columns["rule"] == number
        return fits

    def _rows(self, places: Iterable[int]) -> Iterator[dict[str, Any]]:
        ends = self._columns["offset"]
        with (self._folder / FINDINGS).open("rb") as file:
            for at in places:
                file.seek(int(ends[at]))
                yield json.loads(file.read(int(ends[at + 1] - ends[at])))


if __name__ == "__main__":
    os.nice(5)
    try:
        build(Path(sys.argv[1]), Path(sys.argv[2]))
    except StoreError as error:
        sys.exit(str(error))  # the studio shows it
