"""Single keys from a terminal, without Enter."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ReadKey = Callable[[], str]
"""Returns the next key: a character, or ``left``, ``right``, ``up``, ``down``; empty at the end."""

_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
ESCAPE_S = 0.05
END, INTERRUPT = "\x04", "\x03"


@contextmanager
def single_keys() -> Iterator[ReadKey]:
    """Read keys as they are pressed while the block lasts; lines where there is no terminal.

    Ctrl-C and Ctrl-D read as the end, so that the terminal is always put back.
    """
    if not sys.stdin.isatty():
        yield _line_key
        return
    if sys.platform == "win32":
        import msvcrt

        yield lambda: _plain(msvcrt.getwch())
        return
    import termios
    import tty

    place = sys.stdin.fileno()
    before = termios.tcgetattr(place)
    try:
        tty.setcbreak(place)
        quiet = termios.tcgetattr(place)
        quiet[3] &= ~termios.ISIG  # Ctrl-C is a key here
        termios.tcsetattr(place, termios.TCSANOW, quiet)
        yield lambda: _read_key(place)
    finally:
        termios.tcsetattr(place, termios.TCSADRAIN, before)


def _read_key(place: int) -> str:
    """Read one key, and leave what is typed ahead for the next."""
    pressed = os.read(place, 1)
    if not pressed or pressed.decode("latin-1") in (END, INTERRUPT):
        return ""
    if pressed == b"\x1b":
        # An arrow is three bytes that come together; a lone Escape is followed by nothing.
        rest = b""
        while len(rest) < 2 and select.select([place], [], [], ESCAPE_S)[0]:
            rest += os.read(place, 1)
        return _ARROWS.get(rest[1:].decode("latin-1"), "escape") if rest else "escape"
    more = (pressed[0] >= 0xC0) + (pressed[0] >= 0xE0) + (pressed[0] >= 0xF0)
    return (pressed + b"".join(os.read(place, 1) for _ in range(more))).decode("utf-8", "replace")


def _line_key() -> str:
    """Read a key from a line: its first character, or its name."""
    line = sys.stdin.readline()
    if not line:
        return ""
    word = line.strip()
    return word if word in _ARROWS.values() else word[:1] or " "


def _plain(key: str) -> str:
    return "" if key in (END, INTERRUPT) else key
