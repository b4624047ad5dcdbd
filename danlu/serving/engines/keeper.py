"""A process that ends when the one that started it does, however that ends.

``python -m danlu.serving.engines.keeper COMMAND …`` runs a command until it ends, or until standard
input is closed: whoever holds the other end of that pipe has then ended, by ``kill -9`` too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

GRACE_S = 20.0
"""How long a command may take to end by itself."""


def when_abandoned(do: Callable[[], None]) -> None:
    """Call something once standard input is closed, from a thread of its own."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        do()

    threading.Thread(target=wait, name="danlu-keeper", daemon=True).start()


def keep(command: list[str]) -> int:
    """Run a command in a group of its own, and end the whole group when we are abandoned."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end(*_: object) -> None:
        _signal(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
        _signal(child.pid, signal.SIGKILL)  # those of the group that are left

    when_abandoned(end)
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # closing the pipe is the one way
    code = child.wait()
    _signal(child.pid, signal.SIGKILL)
    return code


def _signal(group: int, name: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, name)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
