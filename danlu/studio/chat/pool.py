"""Which models are in memory: few, each in a process that can be ended whatever it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from danlu.errors import ModelError
from danlu.generation.interface import Conversation, Sampling
from danlu.records.record import Message

Stage = Literal["absent", "starting", "loading", "ready", "failed"]
MOST = 2
"""Processes kept; the one that was asked least recently goes first."""
END_S = 5.0
PACKAGE = Path(__file__).parents[3]


@dataclass(frozen=True)
class ModelState:
    """How a model stands.

    Attributes:
        stage: ``starting``: the process is; ``loading``: it reads weights.
        seconds: Since it began to load.
        bytes: Memory of its process; 0 if there is none.
        together: Names of the models in that process.
        fault: Why it could not be loaded.
    """

    stage: Stage
    seconds: float = 0.0
    bytes: int = 0
    together: tuple[str, ...] = ()
    fault: str = ""


class ModelProcess:
    """A process with models, from this side.

    Args:
        root: Folder it works in.
        names: What it loads, as ``load_speakers`` takes it.

    Attributes:
        names: As given.
        began: When, by the monotonic clock.
        used: When it was asked last.
        stage: How far it is.
        fault: Why it failed.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.began = self.used = time.monotonic()
        self.stage: Stage = "starting"
        self.fault = ""
        self._changed = threading.Condition()
        self._answers: dict[int, SimpleQueue[dict[str, Any]]] = {}
        self._asked = 0
        path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "danlu.studio.chat.worker", *names],
            cwd=root,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the studio's
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it can be asked, now or soon."""
        return self.stage in ("starting", "loading", "ready")

    @property
    def busy(self) -> bool:
        """Whether it loads or answers."""
        return self.stage in ("starting", "loading") or bool(self._answers)

    def bytes(self) -> int:
        """Return how much memory it takes."""
        import psutil

        with suppress(psutil.Error):
            return int(psutil.Process(self._process.pid).memory_info().rss)
        return 0

    def stream(
        self, name: str, messages: Sequence[Message], sampling: Sampling
    ) -> Generator[str, None, None]:
        """Yield an answer piece by piece, once the model is loaded; closing it stops the work.

        Raises:
            ModelError: If it cannot be loaded, or cannot answer.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.stage not in ("starting", "loading"))
            if not self.alive:
                raise ModelError(self.fault)
            self._asked += 1
            number, answer = self._asked, SimpleQueue[dict[str, Any]]()
            self._answers[number] = answer
        ask = {
            "ask": number,
            "speaker": self.names.index(name),
            "messages": [{"role": one.role, "content": one.content} for one in messages],
            "sampling": asdict(sampling),
        }
        try:
            self._write(ask)
            while True:
                said = answer.get()
                if "fault" in said:
                    raise ModelError(said["fault"])
                if "end" in said:
                    return
                yield said["text"]
        finally:
            with self._changed:
                del self._answers[number]
            self.used = time.monotonic()
            self._write({"stop": number})

    def close(self) -> None:
        """End it, whatever it does."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait(END_S)
        if threading.current_thread() is not self._reader:
            self._reader.join(END_S)

    def _write(self, row: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        # If it is gone, the reader says so to whoever waits.
        with self._changed, suppress(OSError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                row = json.loads(line)
                with self._changed:
                    if "stage" in row:
                        self.stage = row["stage"]
                    elif "id" not in row:
                        self.stage, self.fault = "failed", row["fault"]
                    elif row["id"] in self._answers:
                        self._answers[row["id"]].put(row)
                    self._changed.notify_all()
        code = self._process.wait()
        with self._changed:
            if self.stage != "failed":
                loading = self.stage in ("starting", "loading")
                self.stage, self.fault = "failed" if loading else "absent", _ended(code)
            for answer in self._answers.values():
                answer.put({"fault": self.fault})
            self._changed.notify_all()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()


class Models:
    """The models of a workspace that are in memory.

    Args:
        root: Folder that the processes work in.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._processes: list[ModelProcess] = []
        self._closed = False

    def wake(self, names: Sequence[str]) -> None:
        """Begin to load those that are not loaded, together; others may have to go.

        Raises:
            ModelError: If those that would have to go are answering.
        """
        with self._lock:
            self._wake(names)

    def stream(
        self, name: str, group: Sequence[str], conversation: Conversation, sampling: Sampling
    ) -> Generator[str, None, None]:
        """Yield an answer of a model, loaded anew with its group if it has been freed.

        Raises:
            ModelError: If it cannot be loaded, or cannot answer.
        """
        with self._lock:
            process = self._of(name) or self._wake(group)
            process.used = time.monotonic()
        messages = (
            [Message("user", conversation)] if isinstance(conversation, str) else conversation
        )
        yield from process.stream(name, messages, sampling)

    def state(self, name: str) -> ModelState:
        """Say how a model stands."""
        with self._lock:
            found = [one for one in self._processes if name in one.names]
        if not found:
            return ModelState("absent")
        process = found[-1]
        return ModelState(
            process.stage,
            time.monotonic() - process.began,
            process.bytes() if process.alive else 0,
            process.names,
            process.fault if process.stage == "failed" else "",
        )

    def free(self, name: str) -> None:
        """End the process that holds a model, also while it loads or answers."""
        with self._lock:
            process = self._of(name)
            if process is not None:
                self._end(process)

    def close(self) -> None:
        """End all."""
        with self._lock:
            self._closed = True
            for process in list(self._processes):
                self._end(process)

    def _of(self, name: str) -> ModelProcess | None:
        return next((one for one in self._processes if name in one.names and one.alive), None)

    def _wake(self, names: Sequence[str]) -> ModelProcess:
        missing = [name for name in dict.fromkeys(names) if self._of(name) is None]
        if not missing:
            process = self._of(names[0])
            assert process is not None
            return process
        if self._closed:
            raise ModelError("the studio is ending.")
        for one in self._processes:
            if not one.alive and set(one.names) & set(missing):
                self._end(one)
        kept = [one for one in self._processes if one.alive]
        while len(kept) >= MOST:
            spare = [one for one in kept if not one.busy and not set(one.names) & set(names)]
            if not spare:
                busy = ", ".join(name for one in kept for name in one.names)
                raise ModelError(
                    f"at most {MOST} are kept in memory, and these are loading or answering: "
                    f"{busy}. Stop or free one.",
                    where=", ".join(missing),
                )
            oldest = min(spare, key=lambda one: one.used)
            self._end(oldest)
            kept.remove(oldest)
        process = ModelProcess(self._root, missing)
        self._processes.append(process)
        return process

    def _end(self, process: ModelProcess) -> None:
        self._processes.remove(process)
        process.close()


def _ended(code: int) -> str:
    if code == -9:
        return "its process was killed: freed here, or by the system for want of memory."
    return f"its process has ended (exit code {code}); it is loaded again when it is asked."
