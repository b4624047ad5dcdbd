"""Mojibake: text that was decoded by another encoding than it was written in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from danlu.workshop.checks.check import Rule, Running
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord, shown
from danlu.workshop.checks.view import View

_REPLACEMENT = "\ufffd"
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufeff\ufff0-\ufff8]|[\ufdd0-\ufdef\ufffe\uffff]"
)
# UTF-8's two to four bytes, as Latin-1 or Windows-1252 shows them.
_LATIN_RUN = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013\u2014\u2018-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]+"
)
_WIDE_RUN = re.compile("[^\x00-\x7f]{4,}")
_LEAST_CHINESE = 3
_WHOLE_BYTES = 6


@dataclass(frozen=True, slots=True)
class Mojibake:
    """Finds traces of a wrong encoding in any message."""

    name: ClassVar[str] = "mojibake"
    finds: ClassVar[str] = "text decoded by the wrong encoding, lost and control characters"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "replacement_character",
            "fault",
            "a character was lost in decoding (U+FFFD)",
            "Read the source again in its own encoding.",
        ),
        Rule(
            "utf8_as_latin1",
            "fault",
            "UTF-8 was read as Latin-1 or Windows-1252 (Ã© for é, â€™ for ’)",
            "Read the source again as UTF-8.",
        ),
        Rule(
            "utf8_as_gbk",
            "fault",
            "UTF-8 was read as GBK (浣犲ソ for 你好, 锟斤拷)",
            "Read the source again as UTF-8.",
        ),
        Rule(
            "control_character",
            "attention",
            "a control character or a byte order mark stands in the text",
            "Take it out.",
        ),
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return PerRecord(self, _look)


def _look(view: View) -> Iterator[Hit]:
    text = view.whole
    if _CONTROL.search(text):
        yield from _control(view, text)
    if text.isascii():
        return
    if (start := text.find(_REPLACEMENT)) >= 0:
        yield _hit("replacement_character", view, text, start, start + 1)
    for found in _LATIN_RUN.finditer(text):
        if meant := read_as_latin1(found[0]):
            yield _hit("utf8_as_latin1", view, text, *found.span(), value=meant)
            break
    for found in _WIDE_RUN.finditer(text):
        if meant := read_as_gbk(found[0]):
            yield _hit("utf8_as_gbk", view, text, *found.span(), value=meant)
            break


def _control(view: View, text: str) -> Iterator[Hit]:
    for found in _CONTROL.finditer(text):
        # U+0080 to U+009F are bytes of mojibake too, which the rule for it tells better.
        if not "\x80" <= found[0] <= "\x9f" or not _LATIN_RUN.search(text):
            yield _hit("control_character", view, text, *found.span(), f"U+{ord(found[0]):04X}")
            return


def _hit(rule: str, view: View, text: str, start: int, end: int, value: str = "") -> Hit:
    detail = f"{view.place(start)}: {shown(text, start, end)!r}"
    return Hit(rule, value[:40] or None, detail=detail)


def read_as_latin1(run: str) -> str:
    """Return what a run of Latin characters was meant to be; nothing if it is what it seems.

    Example:
        >>> read_as_latin1("Ã©"), read_as_latin1("â€™"), read_as_latin1("Â°")
        ('é', '’', '°')
        >>> read_as_latin1("Ãª")
        'ê'
    """
    try:
        return run.encode("cp1252").decode("utf-8")
    except UnicodeError:
        pass
    try:
        return run.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return ""


def read_as_gbk(run: str) -> str:
    """Return what a run of Chinese was meant to be; nothing if it is what it seems.

    Chinese as it should be is hardly ever valid UTF-8 when it is written as GBK: three bytes must
    fit for every character. The first two characters must come out whole, three of Chinese in all,
    and few faults: bytes for which GBK has no character were lost.

    Example:
        >>> read_as_gbk("浣犲ソ锛屼笘鐣"), read_as_gbk("你好，世界")
        ('你好，世', '')
    """
    if "锟斤拷" in run:
        return _REPLACEMENT
    try:
        written = run.encode("gb18030")
    except UnicodeError:
        return ""
    try:
        meant = written.decode()
    except UnicodeDecodeError as error:
        if error.start < _WHOLE_BYTES:
            return ""
        meant = written.decode("utf-8", "replace")
    chinese = sum("\u4e00" <= one <= "\u9fff" for one in meant)
    is_right = chinese >= max(_LEAST_CHINESE, 2 * meant.count(_REPLACEMENT))
    return meant.replace(_REPLACEMENT, "") if is_right else ""
