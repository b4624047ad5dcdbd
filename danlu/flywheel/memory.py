"""What a flywheel has read: turns and votes, masked, and how far into each file.

A SQLite file. What is read of a file and how far that was are written together, so a killed run
reads nothing twice and passes nothing over. A turn is known by its id or, where its log gives none,
by its content; so a file that was moved, rotated or exported anew brings nothing twice either.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from danlu.records.capture import Feedback, Turn, Vote, encode_capture, read_capture
from danlu.runs.sqlite_file import open_sqlite

LAYOUT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS turns (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body TEXT, alone INTEGER NOT NULL,
    source TEXT NOT NULL, place TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS votes (
    key TEXT NOT NULL, voter TEXT NOT NULL, up INTEGER, time TEXT NOT NULL, text TEXT NOT NULL,
    corrected TEXT NOT NULL, PRIMARY KEY (key, voter)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, lines INTEGER NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS masked (rule TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""
_TURN = "INSERT OR IGNORE INTO turns (key, body, alone, source, place) VALUES (?, ?, ?, ?, ?)"
_VOTE = """
INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key, voter) DO UPDATE SET
    up = coalesce(excluded.up, up), time = excluded.time,
    text = CASE excluded.text WHEN '' THEN text ELSE excluded.text END,
    corrected = CASE excluded.corrected WHEN '' THEN corrected ELSE excluded.corrected END
"""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file was read.

    Attributes:
        bytes: To where.
        lines: How many lines that were.
        digest: Hash of what stands before.
    """

    bytes: int
    lines: int
    digest: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A turn that was read, with all votes on it.

    Attributes:
        key: By which it is known.
        turn: The turn, masked.
        alone: Whether it holds its own question only.
        source: What its log is called.
        place: File and line.
    """

    key: str
    turn: Turn
    alone: bool
    source: str
    place: str


class Memory:
    """Turns, votes and positions; used as a context manager.

    Args:
        folder: It and the file in it are made.

    Raises:
        DanluError: If the file is something else, or was written by a later Danlu.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "memory.sqlite"
        remedy = "Use the Danlu that wrote it, or another folder."
        what = "a flywheel's memory"
        self._file = open_sqlite(self.path, _TABLES, LAYOUT, what=what, remedy=remedy)
        # It holds what people said.
        self.path.chmod(0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write all that the block adds, or nothing of it."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")

    def add_turn(self, turn: Turn, *, alone: bool, source: str, place: str) -> bool:
        """Add a turn, which is masked already; False if it was known. Its votes are added too."""
        key = turn_key(turn.id)
        session = turn.session and turn_key(turn.session)
        body = encode_capture(replace(turn, id=key, session=session, votes=())).decode()
        fresh = self._file.execute(_TURN, (key, body, alone, source, place)).rowcount == 1
        for vote in turn.votes:
            self._add_vote(key, vote)
        return fresh

    def leave_out(self, turn: Turn, *, source: str, place: str) -> bool:
        """Remember that a turn was read and is not kept; False if that was known."""
        row = (turn_key(turn.id), None, False, source, place)
        return self._file.execute(_TURN, row).rowcount == 1

    def add_feedback(self, feedback: Feedback) -> None:
        """Add a vote; its turn may be read later."""
        self._add_vote(turn_key(feedback.turn), feedback.vote)

    def position(self, path: str) -> Position | None:
        """Return how far a file was read."""
        row = self._file.execute(
            "SELECT bytes, lines, digest FROM files WHERE path = ?", (path,)
        ).fetchone()
        return Position(*row) if row else None

    def move(self, path: str, position: Position) -> None:
        """Remember how far a file was read."""
        row = (path, position.bytes, position.lines, position.digest)
        self._file.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", row)

    def count_masked(self, found: Counter[str]) -> None:
        """Add to what was masked over all runs."""
        self._file.executemany(
            "INSERT INTO masked VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + ?",
            [(rule, count, count) for rule, count in found.items()],
        )

    def masked(self) -> dict[str, int]:
        """Return how much was masked over all runs, by kind."""
        return dict(self._file.execute("SELECT rule, count FROM masked ORDER BY rule"))

    def left_out(self) -> int:
        """Count the turns that were read and are not kept."""
        count: int = self._file.execute("SELECT count(*) FROM turns WHERE body IS NULL").fetchone()[
            0
        ]
        return count

    def turns(self) -> Iterator[Seen]:
        """Stream all turns with their votes, in the order in which they were read."""
        votes: dict[str, list[Vote]] = {}
        rows = self._file.execute(
            "SELECT key, voter, up, time, text, corrected FROM votes ORDER BY key, voter"
        )
        for key, voter, up, *texts in rows:
            votes.setdefault(key, []).append(Vote(voter, None if up is None else bool(up), *texts))
        rows = self._file.execute(
            "SELECT key, body, alone, source, place FROM turns WHERE body IS NOT NULL "
            "ORDER BY number"
        )
        for key, body, alone, source, place in rows:
            turn = read_capture(json.loads(body))
            assert isinstance(turn, Turn)
            with_votes = replace(turn, votes=tuple(votes.get(key, ())))
            yield Seen(key, with_votes, bool(alone), source, place)

    def _add_vote(self, key: str, vote: Vote) -> None:
        up = None if vote.up is None else int(vote.up)
        row = (key, voter_mark(vote.voter), up, vote.time, vote.text, vote.corrected)
        self._file.execute(_VOTE, row)


def turn_key(id_: str) -> str:
    """Hash the id of a turn or a session: those of some services name their users."""
    return hashlib.blake2b(f"turn\0{id_}".encode(), digest_size=10).hexdigest()


def voter_mark(voter: str) -> str:
    """Return what a voter is called in reports and records: a hash, empty for nobody known.

    Example:
        >>> voter_mark("li@danlu.cn"), voter_mark("")
        ('u-09745a11cd', '')
    """
    if not voter:
        return ""
    return "u-" + hashlib.blake2b(f"voter\0{voter}".encode(), digest_size=5).hexdigest()
