"""From log files into the memory: only what is new, and nothing personal.

JSON lines and CSV rows are read as bytes up to the last whole one. What a service is still writing
waits for the next run. A file is known again by what it begins with; one that was replaced is read
from its beginning, which brings only what was not known.
"""

from __future__ import annotations

import csv
import glob
import gzip
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from danlu.errors import RecordError
from danlu.flywheel.config import LogSection
from danlu.flywheel.logs import Read, Reader, reader_of
from danlu.flywheel.memory import Memory, Position
from danlu.records.capture import Feedback
from danlu.workshop.privacy import mask_turn, mask_vote

ROWS_TOGETHER = 1000
FAULTS_TOLD = 5
READ_BYTES = 1 << 20
SUFFIXES = (".jsonl", ".ndjson", ".csv")

Told = Callable[[int], None]


@dataclass
class Pulled:
    """What reading one source has brought.

    Attributes:
        source: What it is called.
        files: How many files it has.
        turns: New ones.
        feedback: Votes that came as lines of their own.
        known: Turns that were known.
        left_out: New turns that are not kept, for personal data.
        waiting: Files whose last line is not whole yet.
        broken: Rows that could not be read.
        faults: Some of those: place, and why.
        masked: What was masked, by kind.
        unread_votes: Votes that say neither up nor down, by what they say.
    """

    source: str
    files: int = 0
    turns: int = 0
    feedback: int = 0
    known: int = 0
    left_out: int = 0
    waiting: int = 0
    broken: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    masked: Counter[str] = field(default_factory=Counter)
    unread_votes: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            **vars(self),
            "faults": [{"place": place, "reason": reason} for place, reason in self.faults],
            "masked": dict(self.masked),
            "unread_votes": dict(self.unread_votes.most_common(FAULTS_TOLD)),
        }


def pull(
    memory: Memory, source: LogSection, *, drop_personal: bool = False, told: Told | None = None
) -> Pulled:
    """Read what is new in a source.

    Args:
        memory: Where it goes.
        source: Which logs.
        drop_personal: Leave turns with personal data out, in place of masking it.
        told: Told how many rows were read.

    Raises:
        RecordError: If there is no such file, or it cannot be read.
    """
    found = Pulled(source.name or source.path)
    reader = reader_of(source)
    paths = files_of(source)
    found.files = len(paths)
    for path in paths:
        _File(memory, path, reader, source, found, drop_personal, told).read()
    return found


def files_of(source: LogSection) -> list[Path]:
    """Return the files of a source, in the order of their names.

    Raises:
        RecordError: If nothing is there, or a file's suffix is not known.
    """
    path = Path(os.path.expanduser(source.path))
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if _suffix(one) in SUFFIXES)
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(one) for one in glob.glob(str(path), recursive=True))
    found = [one for one in found if one.is_file() and not one.name.startswith(".")]
    if not found and not glob.has_magic(str(path)) and not path.is_dir():
        raise RecordError("there is no such file or folder.", where=source.path)
    for one in found:
        if _suffix(one) not in SUFFIXES:
            raise RecordError(
                f"chat logs are .jsonl or .csv, also with .gz; not {one.suffix or 'nothing'!r}.",
                where=str(one),
            )
    return found


def _suffix(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


class _Row(NamedTuple):
    """One row, and where the file stands after it."""

    number: int
    value: Mapping[str, Any] | None
    fault: str
    end: Position


class _File:
    """One file that is being read."""

    def __init__(
        self,
        memory: Memory,
        path: Path,
        reader: Reader,
        source: LogSection,
        found: Pulled,
        drop_personal: bool,
        told: Told | None,
    ) -> None:
        self._memory = memory
        self._path = path
        self._reader = reader
        self._name = found.source
        self._found = found
        self._drop = drop_personal
        self._told = told
        self._is_csv = _suffix(path) == ".csv"
        if (source.format == "csv") != self._is_csv:
            raise RecordError(
                f"format is {source.format}, and the file is no such: csv reads .csv, the others "
                "JSON lines.",
                where=str(path),
            )

    def read(self) -> None:
        """Read on from where it was left, some rows at a time."""
        key = os.path.abspath(self._path)
        rows = self._rows(self._memory.position(key))
        batch: list[_Row] = []
        for row in rows:
            batch.append(row)
            if len(batch) == ROWS_TOGETHER:
                self._take(key, batch)
                batch = []
        if batch:
            self._take(key, batch)

    def _take(self, key: str, rows: list[_Row]) -> None:
        with self._memory.together():
            for row in rows:
                place = f"{self._path}:{row.number}"
                try:
                    if row.value is None:
                        raise RecordError(row.fault)
                    self._add(self._reader(row.value), place)
                except RecordError as error:
                    self._found.broken += 1
                    if len(self._found.faults) < FAULTS_TOLD:
                        self._found.faults.append((place, error.message))
            self._memory.move(key, rows[-1].end)
        if self._told is not None:
            self._told(len(rows))

    def _add(self, read: Read, place: str) -> None:
        found, entry = self._found, read.entry
        if read.unread_vote:
            found.unread_votes[read.unread_vote] += 1
        if isinstance(entry, Feedback):
            masked = mask_vote(entry.vote)
            self._memory.add_feedback(Feedback(entry.turn, masked.value))
            found.feedback += 1
            return
        masked = mask_turn(entry)
        if masked.found and self._drop:
            fresh = self._memory.leave_out(entry, source=self._name, place=place)
            found.left_out += fresh
        else:
            fresh = self._memory.add_turn(
                masked.value, alone=read.alone, source=self._name, place=place
            )
            found.turns += fresh
            if fresh:
                found.masked += masked.found
                self._memory.count_masked(masked.found)
        found.known += not fresh

    def _rows(self, before: Position | None) -> Iterator[_Row]:
        """Yield the whole rows behind a position; all rows, if the file is another one by now."""
        try:
            opened: Any = gzip.open if self._path.suffix.lower() == ".gz" else open
            with opened(self._path, "rb") as file:
                digest = hashlib.blake2b(digest_size=16)
                start = before if before and _is_same(file, before, digest) else None
                if start is None:
                    file.seek(0)
                    digest = hashlib.blake2b(digest_size=16)
                start = start or Position(0, 0, "")
                pieces = _csv_rows(file, start) if self._is_csv else _lines(file)
                yield from self._parsed(pieces, start, digest)
        except (OSError, EOFError) as error:
            raise RecordError(f"cannot be read: {error}.", where=str(self._path)) from error

    def _parsed(self, pieces: Iterator[_Piece], start: Position, digest: Any) -> Iterator[_Row]:
        size, lines = start.bytes, start.lines
        for piece in pieces:
            value, fault = (piece.value, "") if piece.value is not None else _object(piece.raw)
            if not piece.is_whole and value is None:
                self._found.waiting += 1
                return
            number = lines + 1
            size, lines = size + len(piece.raw), lines + piece.raw.count(b"\n")
            digest.update(piece.raw)
            if piece.raw.strip() and not piece.is_head:
                yield _Row(number, value, fault, Position(size, lines, digest.hexdigest()))


class _Piece(NamedTuple):
    """The bytes of a row.

    Attributes:
        raw: As they stand in the file.
        is_whole: Whether the row ends with them.
        value: Of a CSV row, its cells by column.
        is_head: Whether it is the head of a CSV file.
    """

    raw: bytes
    is_whole: bool
    value: Mapping[str, Any] | None = None
    is_head: bool = False


def _is_same(file: Any, before: Position, digest: Any) -> bool:
    """Whether a file begins with what was read of it; leaves it there."""
    left = before.bytes
    while left and (piece := file.read(min(left, READ_BYTES))):
        digest.update(piece)
        left -= len(piece)
    return not left and digest.hexdigest() == before.digest


def _lines(file: Any) -> Iterator[_Piece]:
    for line in file:
        yield _Piece(line, line.endswith(b"\n"))


def _object(line: bytes) -> tuple[Mapping[str, Any] | None, str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        return None, f"the line is not JSON: {what}."
    if not isinstance(value, dict):
        return None, "the line is no JSON object."
    return value, ""


def _csv_rows(file: Any, start: Position) -> Iterator[_Piece]:
    """Yield rows with the bytes of each; a quoted cell may hold line breaks."""
    head: list[str] | None = None
    if start.bytes:
        file.seek(0)
        head = next(csv.reader([_joined(file)[0].decode("utf-8-sig")]), [])
        file.seek(start.bytes)
    while True:
        raw, is_whole = _joined(file)
        if not raw:
            return
        if not is_whole:  # Its last cell may be cut: it waits for the line break.
            yield _Piece(raw, False)
            return
        try:
            cells = next(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise RecordError(f"the file is not CSV in UTF-8: {error}") from error
        if head is None:
            head = cells
            yield _Piece(raw, True, is_head=True, value={})
        else:
            yield _Piece(raw, True, dict(zip(head, cells, strict=False)))


def _joined(file: Any) -> tuple[bytes, bool]:
    """Read lines until the quotes are even: one row of CSV, and whether it ends with a break."""
    raw = b""
    for line in iter(file.readline, b""):
        raw += line
        if raw.count(b'"') % 2 == 0:
            break
    return raw, raw.endswith(b"\n") and raw.count(b'"') % 2 == 0
