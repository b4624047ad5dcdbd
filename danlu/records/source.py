"""Where records come from: a source named by the user, and the data files it stands for."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from danlu.errors import RecordError, did_you_mean, nearest

Kind = Literal["json", "jsonl", "csv", "tsv", "parquet", "lines", "document", "hub"]

SUFFIXES: Mapping[str, Kind] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "lines",
    ".md": "document",
}
"""What a file is read as, by its suffix; a further ``.gz`` says that it is compressed."""

PACKAGE = Path(__file__).parents[1]
"""Where Danlu is installed."""

HUB_PREFIX = "hub:"

_ABOUT_THE_DATA = re.compile(r"(readme|license|licence|changelog|citation)\b", re.IGNORECASE)
_SHARD_NUMBER = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class Source:
    """One file, folder, glob or hub dataset, and how to read it.

    Attributes:
        path: A file, a folder (with all below it), a glob, or ``hub:OWNER/NAME``, to which
            ``:CONFIG`` and ``@REVISION`` may be added.
        format: A name from ``danlu formats``, or ``auto``: recognised by content.
        task_type: Of records that carry none; without it they are ``unlabelled/<file stem>``.
        columns: Which column plays which part, as in ``{"prompt": "question"}``.
        split: Of a hub dataset.
        limit: Read at most this many records.

    Raises:
        RecordError: If a setting is out of range.
    """

    path: str
    format: str = "auto"
    task_type: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    split: str = "train"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.task_type is not None:
            check_task_type(self.task_type)
        if self.limit is not None and self.limit < 1:
            raise RecordError(f"limit is {self.limit}; it must be at least 1, or none.")


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file (or hub dataset) of a source.

    Attributes:
        name: As the user would write it; stands in error messages and in ``Record.source``.
        kind: How it is read.
        stem: Its name without suffixes and shard number.
        is_gzipped: Whether it is compressed.
    """

    name: str
    kind: Kind
    stem: str
    is_gzipped: bool = False


def check_task_type(value: str) -> None:
    """Check that a task type has two levels.

    Raises:
        RecordError: If it has not.

    Example:
        >>> check_task_type("identity/name")
    """
    area, slash, skill = value.partition("/")
    if not slash or not area.strip() or not skill.strip() or "/" in skill:
        raise RecordError(
            f"task type {value!r} must have two levels, area/skill, as in reasoning/arithmetic."
        )


def expand(source: Source) -> tuple[list[DataFile], list[str]]:
    """Find the data files of a source.

    A folder stands for all data files below it, in the order of their paths. Hidden files are not
    looked at.

    Returns:
        The data files, and what a folder holds besides: names of other kinds, and pages such as
        ``README.md`` that are about the data.

    Raises:
        RecordError: If nothing is there, or a file's suffix is not known.
    """
    path = os.path.expanduser(source.path)
    if path.startswith(HUB_PREFIX):
        return [_hub_file(path)], []
    if os.path.isfile(path):
        return [_data_file(path)], []
    if os.path.isdir(path):
        return _folder(path)
    if not glob.has_magic(path):
        raise RecordError(f"there is no such file or folder.{_near(path)}", where=source.path)
    found = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
    if not found:
        raise RecordError("the pattern matches no file.", where=source.path)
    return [_data_file(name) for name in found], []


def _folder(path: str) -> tuple[list[DataFile], list[str]]:
    found: list[DataFile] = []
    passed_over: list[str] = []
    for folder, below, names in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            full = os.path.join(folder, name)
            if _split_name(full)[1] not in SUFFIXES or _ABOUT_THE_DATA.match(name):
                passed_over.append(full)
            else:
                found.append(_data_file(full))
    if not found:
        raise RecordError(f"the folder holds no data files ({', '.join(SUFFIXES)}).", where=path)
    return sorted(found, key=lambda file: file.name), sorted(passed_over)


def _data_file(name: str) -> DataFile:
    stem, suffix, is_gzipped = _split_name(name)
    if suffix not in SUFFIXES:
        raise RecordError(
            f"files ending in {suffix or 'nothing'!r} are not read."
            f"{did_you_mean(suffix, SUFFIXES)} Each may be compressed with .gz.",
            where=name,
        )
    if is_gzipped and SUFFIXES[suffix] == "parquet":
        raise RecordError("a Parquet file inside gzip is not read; unpack it.", where=name)
    return DataFile(name, SUFFIXES[suffix], _SHARD_NUMBER.sub("", stem) or stem, is_gzipped)


def _split_name(name: str) -> tuple[str, str, bool]:
    """Return stem, suffix in small letters, and whether ``.gz`` came after it."""
    path = Path(name)
    is_gzipped = path.suffix.lower() == ".gz"
    if is_gzipped:
        path = path.with_suffix("")
    return path.stem, path.suffix.lower(), is_gzipped


def _hub_file(path: str) -> DataFile:
    name = path.removeprefix(HUB_PREFIX).partition("@")[0].partition(":")[0]
    owner, _, title = name.partition("/")
    if not owner or not title or "/" in title:
        raise RecordError(
            "a hub dataset is written hub:OWNER/NAME, with :CONFIG and @REVISION where needed.",
            where=path,
        )
    return DataFile(path, "hub", title)


def _near(path: str) -> str:
    """Return a hint at a file of a similar name beside the missing one."""
    folder, name = os.path.split(path)
    if not os.path.isdir(folder or "."):
        return f" The folder {folder} is not there either."
    near = nearest(name, os.listdir(folder or "."))
    return f" Did you mean {os.path.join(folder, near)!r}?" if near else ""


def called(path: str) -> str:
    """Return a file's path as given; what ships with Danlu has one name wherever that is installed.

    Example:
        >>> called("data/a.jsonl"), called(str(PACKAGE / "quickstart" / "a.jsonl"))
        ('data/a.jsonl', 'danlu:quickstart/a.jsonl')
    """
    place = Path(path)
    return f"danlu:{place.relative_to(PACKAGE).as_posix()}" if PACKAGE in place.parents else path
