"""JSON read row by row: a line at a time, or out of an array of any size.

An array of 10 GB never sits in memory: a window slides over the file, and each element is decoded
as soon as the window holds all of it.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from danlu.errors import RecordError

WINDOW_BYTES = 1 << 20
LONGEST_ROW = 1 << 28
"""Characters. Beyond this a row is taken for a fault: a bracket or quote that never closes."""

_LONGEST_MARK = 16
"""Longer than anything JSON writes in one piece but strings: ``-Infinity``, ``\\ud83d\\ude00``."""

_skip_space = re.compile(r"[ \t\n\r]*").match
_skip_comma = re.compile(r"[ \t\n\r]*,[ \t\n\r]*(?=[^ \t\n\r])").match


class RawRow(NamedTuple):
    """One row of a file, before it is known what it means.

    Attributes:
        line: Where it begins, from 1; in files without lines, its number.
        value: The decoded row; None if it has a fault.
        fault: Why it could not be decoded; None if it could.
        text: As it stands in the file; None where it has no text (Parquet).
    """

    line: int
    value: Any
    fault: str | None = None
    text: str | None = None


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say which byte is not UTF-8, and what to do."""
    return (
        f"byte 0x{error.object[error.start]:02X} is not UTF-8. Save the file as UTF-8; from GBK: "
        "iconv -f GBK -t UTF-8"
    )


def _constant(name: str) -> None:
    """Read NaN, which pandas writes for a missing value, as null; refuse infinity."""
    if name != "NaN":
        raise ValueError(f"{name} is not a number that JSON has")


def _number(text: str) -> float:
    """Read a number with a point or an exponent; refuse one that would become infinite."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


_decoder = json.JSONDecoder(parse_constant=_constant, parse_float=_number)
_encode = json.JSONEncoder(ensure_ascii=False).encode
_may_be_half = re.compile(r"\\u[dD][89a-fA-F]").search


def decode(text: str) -> Any:
    """Decode one JSON text.

    Raises:
        ValueError: If it is not JSON, or holds what no record can.
    """
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {_reason(error)} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if half := _half(text, value):
        raise ValueError(half)
    return value


def _half(text: str, value: Any) -> str | None:
    """Say which half of a character a value holds: JSON can spell it, and no file can hold it."""
    if _may_be_half(text) is not None:
        try:
            _encode(value).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            return f"the text holds {half}, half of a character (a surrogate)"
    return None


def line_rows(lines: Iterator[tuple[int, bytes]]) -> Iterator[RawRow]:
    """Decode each line that is not blank; a broken one is a row with a fault."""
    for number, line in lines:
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            yield RawRow(number, None, not_utf8(error), line.decode("utf-8", "replace").strip())
            continue
        if not text:
            continue
        try:
            yield RawRow(number, decode(text), None, text)
        except ValueError as error:
            yield RawRow(number, None, str(error), text)


def value_rows(file: IO[bytes], name: str) -> Iterator[RawRow]:
    """Decode the elements of an array, or values that stand one after another.

    Past a fault of syntax nobody can say where the next element begins, so it always ends the
    reading.

    Raises:
        RecordError: At a fault of syntax or encoding.
    """
    window = _Window(file, name)
    if window.next_character() != "[":
        while window.next_character():
            yield window.take_row()
        return
    window.position += 1
    more = window.next_character() != "]"
    window.position += not more
    while more:
        window.next_character()
        yield window.take_row()
        while window.skip_comma():  # Whole in the window, as it nearly always is.
            yield window.take_row()
        character = window.next_character()
        if character not in (",", "]"):
            raise window.fault("a comma or the closing bracket of the array is missing")
        window.position += 1
        more = character == ","
    if window.next_character():
        raise window.fault("something stands after the closing bracket of the array")


class _Window:
    """The part of a text that is being decoded, and where in the file it is."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.file = file
        self.name = name
        self.buffer = ""
        self.position = 0
        self.at_end = False
        self._to_text = codecs.getincrementaldecoder("utf-8")()
        self._line = 1  # of the character at self._counted
        self._counted = 0

    def next_character(self) -> str:
        """Go to the next character that is not white space; empty at the end of the file."""
        while True:
            self.position = _skip_space(self.buffer, self.position).end()  # type: ignore[union-attr]
            if self.position < len(self.buffer):
                return self.buffer[self.position]
            if self.at_end:
                return ""
            self._slide()

    def skip_comma(self) -> bool:
        """Go over a comma to the next value, if the window holds both."""
        match = _skip_comma(self.buffer, self.position)
        if match is None:
            return False
        self.position = match.end()
        return True

    def take_row(self) -> RawRow:
        """Decode the value that begins here, and go behind it."""
        start, line = self.position, self._line_at(self.position)
        while True:
            try:
                value, end = _decoder.raw_decode(self.buffer, start)
            except json.JSONDecodeError as error:
                self._go_on(error, line)
            except RecursionError as error:
                raise self.fault("nested too deeply") from error
            except ValueError as error:
                raise self.fault(str(error)) from error
            else:
                # A number where the window ends may go on behind it: 1, 1.5, 1e+5.
                if end + 2 < len(self.buffer) or self.at_end:
                    break
                self._slide()
            start = self.position
        text = self.buffer[start:end]
        self.position = end
        if half := _half(text, value):
            return RawRow(line, None, half, text)
        return RawRow(line, value, None, text)

    def fault(self, reason: str) -> RecordError:
        """Make the error for a fault at the present position."""
        if self.position >= len(self.buffer):
            reason += "; the file ends there"
        return self._error(reason, self._line_at(self.position))

    def _go_on(self, error: json.JSONDecodeError, line: int) -> None:
        """Read further if a value only seems broken because the window ends inside it."""
        rest = error.doc[error.pos : error.pos + _LONGEST_MARK + 1]
        is_open = error.msg.startswith("Unterminated string")
        if self.at_end and (is_open or not rest.strip()):
            raise self._error("the file ends inside the row that begins here", line)
        if self.at_end or not (is_open or len(rest) <= _LONGEST_MARK):
            reason = f"not valid JSON: {_reason(error)} at {rest!r}"
            raise self._error(reason, self._line_at(error.pos))
        if len(self.buffer) - self.position > LONGEST_ROW:
            raise self._error("the row that begins here does not end", line)
        self._slide()

    def _slide(self) -> None:
        """Leave what is behind, and read at least as much again as is still in the window."""
        self._line_at(self.position)
        rest = self.buffer[self.position :]
        chunk = self.file.read(max(WINDOW_BYTES, len(rest)))
        self.at_end = not chunk
        try:
            more = self._to_text.decode(chunk, final=self.at_end)
        except UnicodeDecodeError as error:
            before = rest.count("\n") + error.object.count(b"\n", 0, error.start)
            raise self._error(not_utf8(error), self._line + before) from error
        self.buffer = rest + more
        self.position = self._counted = 0

    def _line_at(self, position: int) -> int:
        self._line += self.buffer.count("\n", self._counted, position)
        self._counted = position
        return self._line

    def _error(self, reason: str, line: int) -> RecordError:
        return RecordError(
            f"{reason}. Nothing after this place can be read; mend the file, or write one "
            "object a line (JSONL).",
            where=f"{self.name}:{line}",
        )


def _reason(error: json.JSONDecodeError) -> str:
    return error.msg.rstrip(": ")[:1].lower() + error.msg.rstrip(": ")[1:]
