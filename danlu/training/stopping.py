"""A graceful end: the first Ctrl-C or SIGTERM stops a run at the end of its step."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from danlu.training.notes import Notes


@contextmanager
def stop_asked(notes: Notes) -> Iterator[Any]:
    """Turn the first Ctrl-C or SIGTERM into a stop at the step's end; the second stops at once."""
    asked: list[int] = []

    def remember(number: int, _: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        notes.say("stopping at the end of this step; once more stops at once")

    try:
        before = {s: signal.signal(s, remember) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller has the signals
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
