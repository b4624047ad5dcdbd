"""Starting, finding and stopping jobs."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from danlu.errors import RunError
from danlu.runs import files
from danlu.runs.schema import Row, Text
from danlu.studio.jobs.keeper import COMMAND_LOCK
from danlu.studio.workspace import NotThereError, Workspace

JobState = Literal["running", "done", "failed", "stopped", "lost"]
"""``stopped``: ended after it was asked to; ``lost``: ended, and its keeper was killed before."""

KEPT = 500
"""Jobs kept; older ones that have ended go."""
OUTPUT_BYTES = 64 * 1024
"""How much of the end of an output is read."""
PACKAGE = Path(__file__).parents[3]
ABOUT = ("plan", "diagnose")
"""Kinds of jobs that are about a run and do not train it."""
DONE_CODES = {"diagnose": (0, 1)}
"""Exit codes of commands that did what they were asked; 1 of a diagnosis: something is serious."""


class Job(Row):
    """``job.json``: what was asked.

    Attributes:
        id: Name of its folder; later ones sort later.
        kind: What it is, for pages: ``train``, ``resume``, ``plan`` ...
        arguments: Of ``danlu``, one by one; no shell reads them.
        run: The run it makes or goes on with, as ``FOLDER/NAME``; None if it is of no run.
        started_at: When.
        leads_to: Address of the page that shows what it has made; None if there is none.
    """

    id: str
    kind: str = Field(pattern=r"^[a-z][a-z-]*$")
    arguments: tuple[Text, ...] = Field(min_length=1)
    run: Text | None = None
    started_at: datetime
    leads_to: Text | None = None


class Ended(Row):
    """``ended.json``: how it ended.

    Attributes:
        exit_code: Negative for a signal, as Python has it.
        ended_at: When.
    """

    exit_code: int
    ended_at: datetime


@dataclass(frozen=True)
class JobView:
    """A job as it is now.

    Attributes:
        job: What was asked.
        state: How it stands.
        ended: How it ended, if it has and its keeper could say.
        folder: Its files.
        is_kept: Whether the process that keeps it lives, and will say how it ends.
    """

    job: Job
    state: JobState
    ended: Ended | None
    folder: Path
    is_kept: bool = True

    @property
    def command(self) -> tuple[str, ...]:
        """As it would be typed."""
        return ("danlu", *self.job.arguments)

    def output(self) -> str:
        """Return the end of what it printed, notes first; of a progress bar, its last state."""
        texts = [_end(self.folder / name) for name in ("stderr.txt", "stdout.txt")]
        lines = [line for text in texts for line in text.split("\n") if line.strip()]
        return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)

    def file(self, name: str) -> str:
        """Return a file that the job was given or has made; empty if there is none."""
        path = self.folder / name
        return path.read_text("utf-8") if path.is_file() else ""


class JobTable:
    """The jobs of a workspace.

    Example:
        A page starts a command and shows how it goes::

            job = jobs.start("check", ["data", "check", "version:support"])
            jobs.get(job.job.id).state
    """

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.root
        self._folder = workspace.own / "jobs"
        self._runs: dict[str, str | None] = {}

    def start(
        self,
        kind: str,
        arguments: Sequence[str] | Callable[[str], Sequence[str]],
        *,
        run: str | None = None,
        given: Mapping[str, str] | None = None,
        leads_to: str | None = None,
    ) -> JobView:
        """Start ``danlu ARGUMENTS`` in the workspace, in a process group of its own.

        Args:
            kind: What it is.
            arguments: Of ``danlu``; or a function of the job's folder, from the workspace, that
                returns them, for a job that reads its own files.
            run: The run it is about.
            given: Files to put into the folder first, by name.
            leads_to: Address of the page that shows what it makes.
        """
        moment = datetime.now(UTC)
        folder = self._folder / f"{moment:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}"
        folder.mkdir(parents=True)
        for name, text in (given or {}).items():
            (folder / name).write_text(text, encoding="utf-8")
        if callable(arguments):
            arguments = arguments(str(folder.relative_to(self._root)))
        job = Job(
            id=folder.name,
            kind=kind,
            arguments=tuple(arguments),
            run=run,
            started_at=moment.replace(microsecond=0),
            leads_to=leads_to,
        )
        files.write_atomically(folder / "job.json", job.to_json(indent=2) + "\n")
        lock = files.Lock(folder / ".lock")
        lock.acquire()
        try:
            path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
            with (folder / "keeper.txt").open("wb") as faults:
                subprocess.run(
                    [sys.executable, "-m", "danlu.studio.jobs.keeper", str(folder)],
                    cwd=self._root,
                    env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=faults,
                    pass_fds=(lock.descriptor,),  # the lock is the keeper's from here on
                    start_new_session=True,
                    check=True,
                )
        finally:
            lock.release()
        self._forget_old()
        return self.get(job.id)

    def get(self, name: str) -> JobView:
        """Return a job.

        Raises:
            RunError: If there is none.
        """
        folder = self._folder / name
        if folder.parent != self._folder or name in ("", ".", ".."):
            raise NotThereError("there is no such job.", where=name)
        job = files.read_row(Job, folder / "job.json") if "\0" not in name else None
        if job is None:
            raise NotThereError("there is no such job.", where=name)
        # The locks first: what ends between the looks has written its end.
        is_kept = _is_kept(folder)
        alive = is_kept or files.Lock(folder / COMMAND_LOCK).is_held()
        ended = files.read_row(Ended, folder / "ended.json")
        return JobView(job, self._state(job, folder, alive, ended), ended, folder, is_kept)

    def all(self, count: int = KEPT) -> list[JobView]:
        """Return the latest jobs, newest first; without those that ``faults`` tells of."""
        names = self._names()[::-1][:count]
        return [view for view in map(self._readable, names) if view is not None]

    def faults(self, count: int = KEPT) -> list[str]:
        """Say of the latest jobs which cannot be read, and why."""
        found = []
        for name in self._names()[::-1][:count]:
            try:
                self.get(name)
            except RunError as error:
                found.append(str(error))
        return found

    def of_run(self, run: str) -> JobView | None:
        """Return the latest job that trained a run; None if the studio started none."""
        for name in reversed(self._names()):
            if name not in self._runs:  # what was asked never changes
                view = self._readable(name)
                is_training = view is not None and view.job.kind not in ABOUT
                self._runs[name] = view.job.run if view is not None and is_training else None
            if self._runs[name] == run:
                return self.get(name)
        return None

    def stop(self, name: str) -> JobView:
        """Ask a job to end: the first time as Ctrl-C does, then by SIGTERM, then at once.

        Raises:
            RunError: If it has ended, or has only just been started.
        """
        view = self.get(name)
        if view.state != "running":
            raise RunError("this job has ended.", where=name)
        keeper = view.file("keeper.json")
        if not keeper:
            raise RunError("this job is only just starting: try again.", where=name)
        asked = len(view.file("stops").splitlines())
        number = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)[min(asked, 2)]
        with (view.folder / "stops").open("a") as file:
            file.write(f"{number.name}\n")
        ids = _Keeper.model_validate_json(keeper)
        # Who holds a lock lives, so its id is its own and no other process's.
        with suppress(ProcessLookupError):
            if _is_kept(view.folder):
                os.kill(ids.pid, number)
            elif ids.command is not None and files.Lock(view.folder / COMMAND_LOCK).is_held():
                os.killpg(ids.command, signal.SIGKILL if number == signal.SIGUSR1 else number)
        return self.get(name)

    def _state(self, job: Job, folder: Path, alive: bool, ended: Ended | None) -> JobState:
        was_stopped = (folder / "stops").exists()
        if ended is None:
            return "running" if alive else "stopped" if was_stopped else "lost"
        if ended.exit_code in DONE_CODES.get(job.kind, (0,)):
            return "done"
        return "stopped" if was_stopped else "failed"

    def _readable(self, name: str) -> JobView | None:
        try:
            return self.get(name)
        except RunError:  # a file of it is broken: the others are shown all the same
            return None

    def _names(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(one.name for one in self._folder.iterdir() if (one / "job.json").is_file())

    def _forget_old(self) -> None:
        for name in self._names()[:-KEPT]:
            view = self._readable(name)
            if view is None or view.state != "running":
                shutil.rmtree(self._folder / name)


def _end(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - OUTPUT_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _is_kept(folder: Path) -> bool:
    return files.Lock(folder / ".lock").is_held()


class _Keeper(Row):
    pid: int = Field(gt=1)
    command: int | None = Field(default=None, gt=1)
