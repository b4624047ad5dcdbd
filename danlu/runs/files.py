"""Writing that survives a kill, and reading that says where a file is broken."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from pydantic import ValidationError

from danlu.errors import RunError
from danlu.runs.schema import Row

R = TypeVar("R", bound=Row)

LOCK_TRIES = 5
LOCK_PAUSE_S = 0.05


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file so that, killed at any moment, either the old or the new one is there.

    The content is on the disk before the name points to it: temporary file, fsync, rename,
    fsync of the folder.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write JSONL as a whole, atomically."""
    write_atomically(path, "".join(row.to_json() + "\n" for row in rows))


def parse_row(kind: type[R], text: str | bytes, where: str) -> R:
    """Parse one JSON object, strictly.

    Raises:
        RunError: If it is not JSON, or not of this kind; ``where`` stands before the message.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"not a valid {kind.__name__}: {place + ': ' if place else ''}{first['msg']}. The file "
            "was changed by hand or written by another version of Danlu.",
            where=where,
        ) from error


def read_row(kind: type[R], path: Path) -> R | None:
    """Read a file that holds one JSON object; None if the file is not there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse_row(kind, content, str(path))


def read_rows(kind: type[R], path: Path) -> Iterator[R]:
    """Read JSONL row by row; nothing if the file is not there.

    A last line without its line end that does not parse is what a kill leaves behind, and is
    passed over. Any other broken line is an error.

    Raises:
        RunError: At the first broken line.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = parse_row(kind, line, f"{path}:{number}")
            except RunError:
                if line.endswith(b"\n"):
                    raise
                return
            yield row


def cut_torn_line(path: Path) -> None:
    """Cut off what follows the last line end, so that the next row begins a line."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        block = 65_536
        while end > 0:
            begin = max(0, end - block)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                end = begin + found + 1
                break
            end = begin
        file.truncate(end)


class Lock:
    """A lock on a file, held by one process and freed by the system when that process dies.

    So a run that says it is running can be told from one that was killed, without a process id
    that may by now be another's. Where the system has no such lock, it always succeeds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Take the lock; False if another holds it.

        Tries for a moment: a reader asking ``is_held`` holds it for an instant.
        """
        file = self.path.open("ab")
        for _ in range(LOCK_TRIES):
            if _try_lock(file, shared=False):
                self._file = file
                return True
            time.sleep(LOCK_PAUSE_S)
        file.close()
        return False

    def release(self) -> None:
        """Give the lock back, if it is held here."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def descriptor(self) -> int:
        """The open file, for a child process that shall go on holding the lock.

        Raises:
            ValueError: If the lock is not held here.
        """
        if self._file is None:
            raise ValueError("the lock is not held")
        return self._file.fileno()

    def is_held(self) -> bool:
        """Say whether any process, this one included, holds the lock."""
        if not self.path.exists():
            return False
        with self.path.open("rb") as file:
            return not _try_lock(file, shared=True)


def _try_lock(file: IO[bytes], *, shared: bool) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A file system without locks: better no lock than no run.
        return True
    return True
