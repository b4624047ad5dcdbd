"""The rows of a data file, streamed: what is wrong with a row is told with it.

In a ``.txt`` file each line is a document, as it is for ``datasets``; if it begins with
``<|im_start|>`` it holds ChatML conversations, with a blank line between two of them. A ``.md``
file is one document.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from danlu.errors import RecordError
from danlu.records.json_rows import (
    LONGEST_ROW,
    RawRow,
    decode,
    line_rows,
    not_utf8,
    value_rows,
)
from danlu.records.source import DataFile
from danlu.records.tables import hub_rows, parquet_rows

CHATML_START = "<|im_start|>"
CHATML_END = "<|im_end|>"
CHATML_BORDER = "<|endoftext|>"

HEAD_BYTES = 4096


def rows(file: DataFile, split: str = "train") -> Iterator[RawRow]:
    """Stream the rows of a data file.

    Args:
        file: Which file, and how it is read.
        split: Of a hub dataset.

    Yields:
        Every row; one that cannot be decoded has a fault.

    Raises:
        RecordError: If the file cannot be read on: it is missing, torn, not UTF-8, or its syntax
            is broken in a way that hides where the next row begins.
    """
    if file.kind == "hub":
        return hub_rows(file.name, split)
    if file.kind == "parquet":
        return parquet_rows(file.name)
    return _stream(file)


@contextmanager
def open_binary(file: DataFile) -> Iterator[IO[bytes]]:
    """Open a file, unpacked.

    Raises:
        RecordError: If it cannot be opened or read to its end.
    """
    try:
        with gzip.open(file.name) if file.is_gzipped else open(file.name, "rb") as opened:
            yield cast(IO[bytes], opened)
    except gzip.BadGzipFile as error:
        raise RecordError(f"this is not a gzip file: {error}.", where=file.name) from error
    except (EOFError, zlib.error) as error:
        raise RecordError(f"the gzip file is torn: {error}.", where=file.name) from error
    except OSError as error:
        raise RecordError(f"cannot be read: {error.strerror or error}.", where=file.name) from error


def _stream(file: DataFile) -> Iterator[RawRow]:
    with open_binary(file) as opened:
        head = opened.read(HEAD_BYTES)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise RecordError("this is UTF-16; save the file as UTF-8.", where=file.name)
        begin = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        opened.seek(begin)
        head = head[begin:].lstrip()
        if file.kind in ("json", "jsonl"):
            if head.startswith(b"[") or (file.kind == "json" and not _is_lines(opened)):
                opened.seek(begin)
                yield from value_rows(opened, file.name)
            else:
                opened.seek(begin)
                yield from line_rows(enumerate(opened, start=1))
        elif file.kind == "lines" and head.startswith(CHATML_START.encode()):
            yield from _conversation_rows(_texts(opened))
        elif file.kind == "lines":
            yield from _line_texts(_texts(opened))
        elif file.kind == "document":
            yield from _document(_texts(opened))
        else:
            yield from _csv_rows(opened, file, head)


def _is_lines(opened: IO[bytes]) -> bool:
    """Whether the first line that is not blank is a row by itself, as in JSONL."""
    for line in opened:
        if line.strip():
            try:
                return isinstance(decode(line.decode()), dict)
            except ValueError:
                return False
    return True


def _texts(lines: Iterable[bytes]) -> Iterator[RawRow]:
    """Make a row of each line, its text in ``text`` with the line's end; a fault if not UTF-8."""
    for number, line in enumerate(lines, start=1):
        try:
            yield RawRow(number, None, None, line.decode().replace("\r\n", "\n"))
        except UnicodeDecodeError as error:
            yield RawRow(number, None, not_utf8(error), line.decode("utf-8", "replace"))


def _line_texts(lines: Iterable[RawRow]) -> Iterator[RawRow]:
    for number, _, fault, text in lines:
        if fault:
            yield RawRow(number, None, fault, text)
        elif text and text.strip():
            text = text.rstrip("\n")
            yield RawRow(number, {"text": text}, None, text)


def _document(lines: Iterable[RawRow]) -> Iterator[RawRow]:
    whole = list(lines)
    text = "".join(line.text or "" for line in whole)
    broken = next((line for line in whole if line.fault), None)
    if broken:
        yield RawRow(broken.line, None, broken.fault, text)
    elif text.strip():
        yield RawRow(1, {"text": text}, None, text)


def _conversation_rows(lines: Iterable[RawRow]) -> Iterator[RawRow]:
    """Cut ChatML text into conversations, at blank lines and borders outside of messages."""
    held: list[RawRow] = []
    inside = False
    for line in lines:
        text = line.text or ""
        if not inside and text.strip() in ("", CHATML_BORDER):
            if held:
                yield _conversation(held)
                held = []
            continue
        held.append(line)
        start, end = text.rfind(CHATML_START), text.rfind(CHATML_END)
        if start != end:  # They are equal only where both are missing.
            inside = start > end
    if held:
        yield _conversation(held)


def _conversation(lines: list[RawRow]) -> RawRow:
    text = "".join(line.text or "" for line in lines)
    broken = next((line for line in lines if line.fault), None)
    if broken:
        return RawRow(broken.line, None, broken.fault, text)
    return RawRow(lines[0].line, {"text": text}, None, text)


def _csv_rows(opened: IO[bytes], file: DataFile, head: bytes) -> Iterator[RawRow]:
    """Read a table with a header, of which every row has as many fields as the header."""
    # The csv module keeps one limit for the whole process; its own default refuses long answers.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))
    delimiter = "\t" if file.kind == "tsv" else _delimiter(head.partition(b"\n")[0])
    reader = csv.reader(_decoded(opened, file.name), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise RecordError(
                f"not valid CSV: {error}. Mend the quotes, or write JSONL.",
                where=f"{file.name}:{line}",
            ) from error
        if fields is None:
            return
        if not fields:
            continue
        if header is None:
            header = _header(fields, file.name)
        elif len(fields) != len(header):
            reason = f"the row has {len(fields)} fields, the header {len(header)}"
            yield RawRow(line, None, reason, delimiter.join(fields))
        else:
            yield RawRow(line, dict(zip(header, fields, strict=True)))


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise RecordError(f"{not_utf8(error)}.", where=f"{name}:{number}") from error


def _delimiter(header: bytes) -> str:
    """Take what the header has most of: spreadsheets of some countries write semicolons."""
    return max(",;\t", key=lambda mark: header.count(mark.encode()))


def _header(fields: list[str], name: str) -> list[str]:
    twice = [field for field, count in Counter(fields).items() if count > 1]
    if twice:
        raise RecordError(f"the header names the column {twice[0]!r} twice.", where=f"{name}:1")
    return fields
