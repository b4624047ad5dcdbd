"""Records as tokens: asks a process for them, and keeps what was shown last.

No request waits for a model: it is told how far the process is, and asks again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from danlu.models.source import BUILTINS
from danlu.records import Record
from danlu.records.lines import encode_record
from danlu.runs import RunDirectory
from danlu.studio.jobs.table import PACKAGE
from danlu.studio.workspace import Workspace

KEPT = 64
"""Answers kept in memory."""
MOST_WAITING = 8
"""Requests that wait; of more, the oldest are forgotten, whose pages ask again."""
MARKS = ("status.json", "model", "adapter")
"""What changes in a run's folder when its model does."""
LOG = "tokens.log"

Stage = Literal["waiting", "starting", "tokenizer", "model", "losses"]


@dataclass(frozen=True)
class Whose:
    """Whose tokens.

    Attributes:
        name: In addresses: ``FOLDER/NAME`` of a run, or ``builtin:NAME``.
        model: What the process is told: a folder or ``builtin:NAME``.
        is_run: Whether it is a run, whose recipe says what is trained.
        stamp: Another one when the model has changed.
    """

    name: str
    model: str
    is_run: bool
    stamp: str


@dataclass(frozen=True)
class Shown:
    """An answer, as far as it is there.

    Attributes:
        found: ``branches`` and ``notes``; None until they are there.
        stage: What is being done.
        fault: Why it cannot be shown.
    """

    found: Mapping[str, Any] | None = None
    stage: Stage = "waiting"
    fault: str = ""


def whose(workspace: Workspace, name: str) -> Whose:
    """Return whose tokens a page asks for.

    Raises:
        RunError: If there is no such run, nor such a built-in model.
    """
    if name in builtins():
        return Whose(name, name, False, "")
    run = workspace.run(name)
    return Whose(name, str(run.path), True, _stamp(run))


def builtins() -> list[str]:
    """Return the built-in models whose package is there."""
    from importlib.util import find_spec

    return [f"builtin:{one.name}" for one in BUILTINS if find_spec(one.module)]


def _stamp(run: RunDirectory) -> str:
    stamps = []
    for name in MARKS:
        try:
            stamps.append(os.stat(run.path / name).st_mtime_ns)
        except FileNotFoundError:
            stamps.append(0)
    return "-".join(map(str, stamps))


@dataclass
class Tokens:
    """The process and its answers; safe to use from several threads.

    Attributes:
        workspace: Where its log is.
    """

    workspace: Workspace
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: dict[str, Shown] = field(default_factory=dict)
    _waiting: deque[dict[str, Any]] = field(default_factory=deque)
    _process: subprocess.Popen[bytes] | None = None
    _is_at_work: bool = False

    def of(self, whose: Whose, record: Record, *, losses: bool) -> Shown:
        """Return what is known, and let the process work on what is not."""
        row = json.loads(encode_record(record))
        asked = {
            "model": whose.model,
            "is_run": whose.is_run,
            "stamp": whose.stamp,
            "record": row,
            "losses": losses,
        }
        key = hashlib.blake2b(json.dumps(asked).encode(), digest_size=16).hexdigest()
        with self._lock:
            known = self._known.get(key)
            if known is None:
                self._known[key] = known = Shown()
                while len(self._known) > KEPT:
                    del self._known[next(iter(self._known))]
                self._waiting.append({"key": key, **asked})
                while len(self._waiting) > MOST_WAITING:
                    self._known.pop(self._waiting.popleft()["key"], None)
                if not self._is_at_work:
                    self._is_at_work = True
                    threading.Thread(target=self._work, daemon=True).start()
            elif known.fault:
                del self._known[key]  # told once; who asks again wants it tried again
            return known

    def close(self) -> None:
        """End the process."""
        with self._lock:
            process, self._process = self._process, None
            self._waiting.clear()
            is_read = self._is_at_work
        if process is not None:
            process.kill()
            process.wait()
            if not is_read:
                _bury(process)

    def _work(self) -> None:
        """Ask for what waits, one after another; a thread does this while there is something."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_at_work = False
                    return
                asked = self._waiting.popleft()
            self._set(asked["key"], self._asked(asked))

    def _asked(self, asked: dict[str, Any]) -> Shown:
        """Ask the process one thing, and follow it to its end."""
        key = asked["key"]
        line = json.dumps(asked).encode() + b"\n"
        process = self._running(key)
        try:
            _tell(process, line)
        except OSError:  # it has ended by itself just now
            process = self._running(key)
            _tell(process, line)
        assert process.stdout is not None
        for answer in process.stdout:
            told = json.loads(answer)
            if "found" in told:
                return Shown(told["found"])
            if "fault" in told:
                return Shown(fault=told["fault"])
            self._set(key, Shown(stage=told["stage"]))
        process.wait()
        _bury(process)
        said = self._log.read_text("utf-8", "replace").strip().splitlines()
        return Shown(fault=said[-1] if said else f"exit code {process.returncode}")

    def _running(self, key: str) -> subprocess.Popen[bytes]:
        with self._lock:
            process = self._process
        if process is not None and process.poll() is None:
            return process
        if process is not None:
            _bury(process)
        self._set(key, Shown(stage="starting"))
        path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "danlu.studio.token_worker"],
                cwd=self.workspace.root,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        with self._lock:
            self._process = process
        return process

    def _set(self, key: str, shown: Shown) -> None:
        with self._lock:
            if key in self._known:
                self._known[key] = shown

    @property
    def _log(self) -> Path:
        return self.workspace.own / LOG


def _tell(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Close what led to a process that has ended."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was not sent any more
                pipe.close()
