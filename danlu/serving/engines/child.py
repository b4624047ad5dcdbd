"""An engine's process: started, waited for, watched, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from danlu.errors import ModelError

LOOK_S = 0.1
END_S = 30.0
SHOWN_LINES = 12
KEPT_BYTES = 16_384
LAST_WORDS_S = 1.0
"""How long is listened for what an ended process has printed."""


class Child:
    """A process that ends with this one; what it prints is kept.

    Args:
        name: What it is called in errors.
        command: What is run.
        environment: Added to this process' own.
        stdin: Written to it first; the pipe then stays open as long as it shall live.

    Raises:
        ModelError: If it cannot be started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> None:
        self.name = name
        self._tail = b""
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **python_path(), **(environment or {})},
                start_new_session=True,  # Ctrl-C is for us: it ends when we let it
            )
        except OSError as error:
            raise ModelError(f"cannot be started: {error}.", where=name) from error
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already, which waiting for it tells
            self._process.stdin.write(stdin)
            self._process.stdin.flush()

    @classmethod
    def kept(
        cls, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> Self:
        """Start a program that does not look after its parent, under one that does."""
        own = [*own_module("danlu.serving.engines.keeper"), *command]
        return cls(name, own, environment=environment)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until it is ready.

        Raises:
            ModelError: If it ends before, or takes too long, with what it printed last.
        """
        end = time.monotonic() + seconds
        while not ready():
            code = self._process.poll()
            if code is not None:
                raise ModelError(
                    f"ended while it started (exit {code}). It said:\n{self.said()}",
                    where=self.name,
                )
            if time.monotonic() > end:
                raise ModelError(
                    f"was not ready after {seconds:g} s. It said:\n{self.said()}\nLet it take "
                    "longer by --start-seconds.",
                    where=self.name,
                )
            time.sleep(LOOK_S)

    def said(self, lines: int = SHOWN_LINES) -> str:
        """Return the last lines that it printed."""
        if not self.alive:
            self._listener.join(LAST_WORDS_S)
        text = self._tail.decode("utf-8", "replace").strip()
        return "\n".join(text.splitlines()[-lines:]) or "nothing"

    def _listen(self) -> None:
        """Keep the end of what it prints; engines print for months."""
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), KEPT_BYTES):
            self._tail = (self._tail + data)[-KEPT_BYTES:]

    def close(self) -> None:
        """End it, and wait until it has."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(LAST_WORDS_S)
        if self._process.stdout is not None and not self._listener.is_alive():
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def own_module(name: str) -> list[str]:
    """Return the command that runs a module of this package."""
    return [sys.executable, "-m", name]


def python_path() -> dict[str, str]:
    """Let a process import this very package, which may not be installed."""
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}
