"""Dataset versions written as files for other programs; what does not fit is never lost unseen."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from danlu.errors import StoreError, did_you_mean
from danlu.records.lines import encode_record
from danlu.workshop.exporting import EXPORTS, Export, UnfitError
from danlu.workshop.exporting.card import dataset_card
from danlu.workshop.store.manifest import FileFormat
from danlu.workshop.store.version import Version
from danlu.workshop.store.writer import close_whole, open_records

OnUnfit = Literal["stop", "drop"]
HUB = "hub"
UNFIT = ".unfit.jsonl"


@dataclass
class Exported:
    """What an export wrote.

    Attributes:
        path: The file or folder.
        records: How many records, by task type.
        unfit: How many did not fit, by reason.
        leaves_out: What no row has.
    """

    path: Path
    records: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)
    leaves_out: tuple[str, ...] = ()


def export(
    version: Version,
    path: Path,
    format: str,
    *,
    on_unfit: OnUnfit = "stop",
    overwrite: bool = False,
) -> Exported:
    """Write a version as one file, JSON (an array) or JSONL by the path's suffix.

    Args:
        version: What is written.
        path: The file. Beside it, ``<path>.unfit.jsonl`` names what did not fit.
        format: A name in ``EXPORTS``.
        on_unfit: Whether a record that the format cannot hold is an error, or is left out, counted
            and named.
        overwrite: Write in place of a file that is there.

    Raises:
        StoreError: If a record does not fit, or the file is there already.
    """
    known = EXPORTS.get(format)
    if known is None:
        raise StoreError(f"there is no export format {format!r}.{did_you_mean(format, EXPORTS)}")
    if path.suffix not in (".json", ".jsonl"):
        raise StoreError("an export is written as .json or .jsonl.", where=str(path))
    _must_be_free(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    done = Exported(path, leaves_out=known.leaves_out)
    named = path.with_name(path.name + UNFIT)
    temporary, unfit = (one.with_name(f".{one.name}.part") for one in (path, named))
    try:
        with temporary.open("wb") as file, unfit.open("wb") as aside:
            _write_rows(
                version, known, file, aside, done, on_unfit, as_array=path.suffix == ".json"
            )
            close_whole(file)
            close_whole(aside)
        named.unlink(missing_ok=True)
        if done.unfit:
            unfit.replace(named)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        unfit.unlink(missing_ok=True)
    return done


def export_hub(
    splits: Mapping[str, Version], path: Path, *, parquet: bool = True, overwrite: bool = False
) -> Exported:
    """Write versions as the folder of a hub dataset: ``data/`` with a file per split, and a card.

    Args:
        splits: Versions by the name of their split.
        path: The folder.
        parquet: Parquet, with messages and tools as JSON text; else JSONL.
        overwrite: Replace ``data`` and ``README.md`` of a folder that is there.

    Raises:
        StoreError: If the folder is there already, or pyarrow is not.
    """
    _must_be_free(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.part")
    shutil.rmtree(building, ignore_errors=True)
    done = Exported(path)
    try:
        (building / "data").mkdir(parents=True)
        for name, version in splits.items():
            done.records.update(_write_split(building / "data", name, version, parquet))
        card = dataset_card(path.name, splits, "parquet" if parquet else "jsonl")
        (building / "README.md").write_text(card, "utf-8")
        _put_in_place(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return done


def _write_rows(
    version: Version,
    known: Export,
    file: BinaryIO,
    aside: BinaryIO,
    done: Exported,
    on_unfit: OnUnfit,
    *,
    as_array: bool,
) -> None:
    between = b"[\n" if as_array else b""
    for record in version.records():
        try:
            row = known.row(record)
        except UnfitError as error:
            if on_unfit == "stop":
                raise StoreError(
                    f"the format {known.name} cannot hold {error}. --on-unfit drop leaves such "
                    "records out and names them; the format danlu holds everything.",
                    where=f"record {record.id}",
                ) from error
            done.unfit[str(error)] += 1
            told = {"id": record.id, "task_type": record.task_type, "reason": str(error)}
            aside.write(_line(told))
            continue
        line = _line(row)
        file.write(between + (line.rstrip(b"\n") if as_array else line))
        between = b",\n" if as_array else b""
        done.records[record.task_type] += 1
    if as_array:
        file.write(b"\n]\n" if done.records else b"[]\n")


def _line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _write_split(folder: Path, name: str, version: Version, parquet: bool) -> Iterator[str]:
    """Write one split, and yield the task type of each record."""
    suffix: FileFormat = "parquet" if parquet else "jsonl"
    out = open_records(folder, suffix)
    for record in version.records():
        out.add(record, encode_record(record))
        yield record.task_type
    out.close()
    (folder / f"records.{suffix}").rename(folder / f"{name}-00000-of-00001.{suffix}")


def _put_in_place(building: Path, path: Path) -> None:
    if not path.exists():
        building.rename(path)
        return
    shutil.rmtree(path / "data", ignore_errors=True)
    (building / "data").rename(path / "data")
    (building / "README.md").replace(path / "README.md")


def _must_be_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise StoreError("is there already; --overwrite replaces it.", where=str(path))
