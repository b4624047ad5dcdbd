"""Every answer that was ever paid for, kept on the disk the moment it comes.

A SQLite file that several commands may use at a time. What is kept is the endpoint's answer as it
came, as JSON, so that an answer outlives the code that reads it.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from danlu.runs.sqlite_file import open_sqlite
from danlu.workshop.produce.faults import CacheError

State = Literal["answered", "refused", "failed"]

LAYOUT = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('answered', 'refused', 'failed')),
    request TEXT NOT NULL,
    response TEXT,
    reason TEXT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) WITHOUT ROWID
"""
_STORE = """
INSERT INTO requests (key, state, request, response, reason) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    state = excluded.state, response = excluded.response, reason = excluded.reason,
    at = excluded.at
WHERE requests.state != 'answered'
"""


class Kept(NamedTuple):
    """What became of a request.

    Attributes:
        state: ``answered``, ``refused`` for good, or ``failed`` for the time being.
        body: The endpoint's answer, if it answered.
        reason: Why not, otherwise.
    """

    state: State
    body: Any = None
    reason: str = ""


class RequestCache:
    """Requests and what came of them, by key. An answer is never lost to a later failure.

    Args:
        path: The file; it and its folder are made.

    Raises:
        CacheError: If the file is something else, or was written by a later Danlu.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        remedy = "Use the Danlu that wrote it, or another file."
        self._file = open_sqlite(
            self.path,
            _TABLE,
            LAYOUT,
            what="a request cache",
            remedy=remedy,
            error=CacheError,
            any_thread=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def get(self, key: str) -> Kept | None:
        """Return what became of a request; None if it was never asked."""
        row = self._file.execute(
            "SELECT state, response, reason FROM requests WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        state, response, reason = row
        return Kept(state, json.loads(response) if response is not None else None, reason or "")

    def keep_answer(self, key: str, identity: str, body: Any) -> None:
        """Keep an answer; when this returns, it is on the disk."""
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        self._store(key, "answered", identity, text, None)

    def keep_failure(self, key: str, identity: str, reason: str, *, refused: bool) -> None:
        """Keep why there is no answer, unless there is one."""
        self._store(key, "refused" if refused else "failed", identity, None, reason)

    def counts(self) -> dict[State, int]:
        """Return how many requests are in which state."""
        rows = self._file.execute("SELECT state, count(*) FROM requests GROUP BY state")
        return dict(rows.fetchall())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _store(
        self, key: str, state: State, identity: str, response: str | None, reason: str | None
    ) -> None:
        # Lone surrogates, which JSON can spell and UTF-8 cannot, would be refused by SQLite.
        texts = [
            text.encode("utf-8", "replace").decode() if text is not None else None
            for text in (identity, response, reason)
        ]
        try:
            self._file.execute(_STORE, (key, state, *texts))
        except sqlite3.Error as error:
            raise CacheError(
                f"the answer cannot be kept: {error}.", where=str(self.path)
            ) from error
