"""A terminal for tests: a real pseudo-terminal, and what its screen would show."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from rich.cells import get_character_cell_size

ROOT = Path(__file__).parents[2]
_CONTROL = re.compile(r"\x1b\[([?0-9;]*)([a-zA-Z@])|\x1b[()][A-Z0-9]|\x1b[=>]")


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, code: str, *, columns: int = 80, **environment: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        variables = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        variables |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            close_fds=True,
            start_new_session=True,
            env={**variables, **environment},
        )
        os.close(theirs)
        self.seen = ""
        self._raw = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until a text is written that was not waited for before."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            self._read()
        self.seen = self.seen.split(text, 1)[1]

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def screen(self) -> list[str]:
        """Return the lines that a user has seen, all that came so far."""
        while select.select([self._ours], [], [], 0.05)[0]:
            self._read()
        return drawn(self._raw.decode("utf-8", "replace"))

    def end(self, seconds: float = 120) -> int:
        """Wait for the program, and return its exit code."""
        return self.process.wait(timeout=seconds)

    def _read(self) -> None:
        if not select.select([self._ours], [], [], 1)[0]:
            return
        data = os.read(self._ours, 4096)
        self._raw += data
        self.seen = self.seen + data.decode("utf-8", "replace")


def drawn(text: str) -> list[str]:
    """Return what a terminal shows of a text with the controls that line editing writes.

    Example:
        >>> drawn("你好\\b\\b\\x1b[K们")
        ['你们']
    """
    rows: list[list[str]] = [[]]
    at = place = 0
    while place < len(text):
        found = _CONTROL.match(text, place)
        row = rows[-1]
        if found:
            place = found.end()
            count = int(found[1]) if (found[1] or "").isdigit() else 1
            if found[2] == "K":
                del row[at:]
            elif found[2] == "C":
                at += count
            elif found[2] == "D":
                at = max(0, at - count)
            elif found[2] == "P":
                del row[at : at + count]
            elif found[2] == "@":
                row[at:at] = [" "] * count
            continue
        character = text[place]
        place += 1
        if character == "\n":
            rows.append([])
            at = 0
        elif character == "\r":
            at = 0
        elif character == "\b":
            at = max(0, at - 1)
        elif character >= " ":
            row += [" "] * (at - len(row))
            width = get_character_cell_size(character)
            row[at : at + width] = [character, *[""] * (width - 1)]
            at += width
    return ["".join(row).rstrip() for row in rows]
