"""Several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""So many items per process are handed out before their results are asked for."""

BYTES_EACH = 15_000_000
"""Less data than this are done sooner than a process for them has begun."""

MOST_PROCESSES = 8
"""Beyond this the one that gathers what the others have seen is the slowest."""


class Processes:
    """Does the work in processes that are begun anew (spawned), on any system alike.

    A script that uses it begins its work below ``if __name__ == "__main__":``, since the processes
    import the script too.

    Args:
        count: How many processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply the function to the items, ``AHEAD`` of them per process at a time."""
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.count, context, initializer=_begin, initargs=(function,))
        waiting: deque[Future[Any]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(_apply, item))
                if len(waiting) > AHEAD * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worth(size_bytes: int) -> int:
    """Return how many processes are worth their start for so much data.

    Example:
        >>> worth(1_000_000)
        1
    """
    return max(1, min(cores(), MOST_PROCESSES, size_bytes // BYTES_EACH))


_function: Callable[[Any], Any]


def _begin(function: Callable[[Any], Any]) -> None:
    """Make ready a process that works for another."""
    global _function
    _function = function
    # Ctrl-C goes to all; the process that is worked for ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the process that is worked for has ended, however it did."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _apply(item: Any) -> Any:
    return _function(item)
