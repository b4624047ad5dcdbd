"""An event loop of one's own that runs also where a loop is running already, as in a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class OwnLoop:
    """Runs coroutines to their end, one after another, all in one event loop.

    In the thread of the caller; or, where an event loop is running in that thread, in a thread of
    its own, while the caller waits. Ctrl-C cancels what is running, and it may tidy up.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._thread: ThreadPoolExecutor | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns, or raise what it raises."""
        # Once in a thread, always there: what the coroutines keep may be bound to it.
        if self._thread is None and _is_looping():
            self._thread = ThreadPoolExecutor(1, "danlu-engine")
        if self._thread is None:
            return self._runner.run(work)
        task: asyncio.Task[T] | None = None

        async def told() -> T:
            nonlocal task
            task = asyncio.current_task()
            return await work

        done = self._thread.submit(self._runner.run, told())
        try:
            return done.result()
        except BaseException:
            if task is not None and not done.done():
                self._runner.get_loop().call_soon_threadsafe(task.cancel)
                done.exception()
            raise

    def close(self) -> None:
        """End the loop, and the thread if there is one."""
        if self._thread is None:
            self._runner.close()
            return
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()


def _is_looping() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
