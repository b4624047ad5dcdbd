"""SQLite files that outlive the command that writes them: opened alike wherever one is kept.

In write-ahead mode: a killed process loses nothing that was stored, what a power cut left
half-written is passed over, and several commands may use a file at a time.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from danlu.errors import DanluError

BUSY_S = 60.0
"""So long one command waits for another that writes."""


def open_sqlite(
    path: Path,
    tables: str,
    layout: int,
    *,
    what: str,
    remedy: str,
    error: type[DanluError] = DanluError,
    any_thread: bool = False,
) -> sqlite3.Connection:
    """Open a file, and make it if it is not there; each statement is on the disk when it is done.

    Args:
        path: The file; its folder is made.
        tables: SQL that makes what is not there.
        layout: Number of the tables' layout, kept in the file; 1 or more.
        what: What the file is, for messages, such as ``a request cache``.
        remedy: What helps if it is something else, as a sentence.
        error: Raised if so.
        any_thread: Let it be used by other threads than this one.

    Raises:
        DanluError: Or ``error``: if it cannot be opened, is something else, or has another layout.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=not any_thread
        )
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        found = file.execute("PRAGMA user_version").fetchone()[0]
        if found in (0, layout):
            file.executescript(tables)
            file.execute(f"PRAGMA user_version = {layout}")
            return file
    except sqlite3.Error as fault:
        told = f"this is not {what}, or it cannot be opened: {fault}. {remedy}"
        raise error(told, where=str(path)) from fault
    file.close()
    raise error(
        f"this is {what} of layout {found}, and this Danlu reads {layout}. {remedy}",
        where=str(path),
    )
