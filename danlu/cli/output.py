"""Printing: results on stdout, notes and errors on stderr, both in UTF-8."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import typer

PIPE_COLUMNS = 200
"""Width of a table that goes to a file or another program."""


def use_utf8() -> None:
    """Print UTF-8 whatever the locale says, so that Chinese survives a pipe under ``LANG=C``."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            errors = "replace" if stream is sys.stdin else "backslashreplace"
            stream.reconfigure(encoding="utf-8", errors=errors)


def note(text: str) -> None:
    """Print a note or an error to stderr."""
    typer.echo(text, err=True)


def result(text: str) -> None:
    """Print a result to stdout."""
    typer.echo(text)


def result_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON: one line, or indented for one large object."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent, default=str))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()
) -> None:
    """Print a table to stdout; wide characters take two columns, nothing is cut off.

    Args:
        columns: Headings.
        rows: Cells, turned into text; None is an empty cell.
        right: Headings of the columns to align right.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS
    drawn = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console(width=width).print(drawn)


def duration(seconds: float) -> str:
    """Say a duration as a person would.

    Example:
        >>> [duration(seconds) for seconds in (0.4, 59, 150, 7800)]
        ['under 1 s', '59 s', '2 min 30 s', '2 h 10 min']
    """
    if seconds < 1:
        return "under 1 s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes_rest = divmod(minutes, 60)
    return f"{hours} h {minutes_rest} min" if hours else f"{minutes} min {rest} s"
