"""``RunDirectory``: where a run keeps everything, safe against a kill at any moment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from danlu.errors import RunError, nearest
from danlu.runs import files
from danlu.runs.schema import (
    Dropped,
    MetricsRow,
    Rejected,
    Resolved,
    Row,
    Sample,
    ScoreRow,
    State,
    Status,
    Summary,
)

CONTENTS = (
    "recipe.yaml",
    "resolved.json",
    "metrics.jsonl",
    "samples.jsonl",
    "scores.jsonl",
    "rollouts.jsonl",
    "rejected.jsonl",
    "dropped.jsonl",
    "summary.json",
    "checkpoints",
    "model",
    "adapter",
    ".model.previous",
    ".model.partial",
    ".adapter.previous",
    ".adapter.partial",
    "prepared",
    "trackers",
    "diagnosis",
    "alerts.jsonl",
    "report.html",
    "loss.png",
)
"""What ``overwrite`` removes; a user's own files beside them stay."""


class RunDirectory:
    """The files of one run; ``create`` and ``resume`` write, ``open`` reads.

    A writer holds a lock until ``close`` or its death, so two processes never write one run. Used
    as a context manager, it records how the run ended: an exception means ``failed``, Ctrl-C or
    leaving without ``finish`` means ``interrupted``.

    Attributes:
        path: The directory, as given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = files.Lock(path / ".lock")
        self._metrics: IO[str] | None = None
        self._writes = False

    # Making, opening and closing ---------------------------------------------------------

    @classmethod
    def create(cls, path: Path | str, *, overwrite: bool = False) -> Self:
        """Begin a new run.

        Args:
            path: Where; parents are made.
            overwrite: Remove an earlier run there, and nothing else.

        Raises:
            RunError: If a run is there and ``overwrite`` is not set, if another process writes
                it, or if something is there that is not a run.
        """
        run = cls(Path(path))
        if run.is_run():
            if not overwrite:
                raise _already_there(run)
        elif run.path.exists() and not run.path.is_dir():
            raise RunError("a file is there; a run needs a folder.", where=str(path))
        elif run.path.is_dir() and any(entry.name != ".lock" for entry in run.path.iterdir()):
            raise RunError(
                "the folder is not empty and not a run, so nothing in it is touched; give the run "
                "another name, or move the folder away.",
                where=str(path),
            )
        run.path.mkdir(parents=True, exist_ok=True)
        run._take_lock()
        try:
            if run.is_run():
                # Said first: killed among the removals, this is still a run, and not finished.
                run._write_status("interrupted", "being overwritten", started=_now())
                run._remove_contents()
            run._write_status("running", "", started=_now())
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def resume(cls, path: Path | str) -> Self:
        """Go on with a run that was interrupted or failed.

        Cut ``metrics.jsonl`` with ``truncate_after`` to the step of the checkpoint.

        Raises:
            RunError: If there is no run, it is finished, or another process writes it.
        """
        run = cls.open(path)
        if run.status().state == "finished":
            raise RunError(
                "this run is finished; there is nothing to resume. To train it anew, use "
                "--overwrite or another name.",
                where=str(path),
            )
        run._take_lock()
        run.set_state("running")
        return run

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a run to read it.

        Raises:
            RunError: If there is no run at ``path``; names the nearest one.
        """
        run = cls(Path(path))
        if run.is_run():
            return run
        siblings = {other.name for other in find_runs(run.path.parent)}
        match = nearest(run.path.name, siblings)
        remedy = f"Did you mean {run.path.parent / match}?" if match else ""
        if not remedy and siblings:
            remedy = f"Runs there: {', '.join(sorted(siblings)[:8])}."
        if run.path.exists():
            message = "not a run: it has no status.json."
            if inside := sorted(other.name for other in find_runs(run.path)):
                remedy = f"Runs in it: {', '.join(inside[:8])}."
        else:
            message = "there is no such run."
        remedy = remedy or "`danlu train RECIPE` makes one."
        raise RunError(f"{message} {remedy}", where=str(path))

    def close(self) -> None:
        """Close what is open and let others write."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        self._lock.release()
        self._writes = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writes and self.status().state == "running":
            if isinstance(error, Exception):
                self.set_state("failed", f"{type(error).__name__}: {error}")
            else:
                self.set_state("interrupted", "stopped from the keyboard" if error else "")
        self.close()

    # Where things are --------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.resolve().name

    @property
    def recipe_path(self) -> Path:
        """The recipe as given."""
        return self.path / "recipe.yaml"

    @property
    def metrics_path(self) -> Path:
        """One line per logging step."""
        return self.path / "metrics.jsonl"

    @property
    def rejected_path(self) -> Path:
        """Lines of data files that are no records; the readers write it."""
        return self.path / "rejected.jsonl"

    @property
    def checkpoints_path(self) -> Path:
        """Folder of checkpoints; the loop writes it."""
        return self.path / "checkpoints"

    @property
    def model_path(self) -> Path:
        """The tuned model, after full tuning."""
        return self.path / "model"

    @property
    def adapter_path(self) -> Path:
        """The adapter, after LoRA."""
        return self.path / "adapter"

    @property
    def report_path(self) -> Path:
        """The report page."""
        return self.path / "report.html"

    @property
    def loss_png_path(self) -> Path:
        """The loss as a picture."""
        return self.path / "loss.png"

    # State -------------------------------------------------------------------------------

    def is_run(self) -> bool:
        """Say whether a run is here: ``status.json`` is the first file written."""
        return (self.path / "status.json").is_file()

    def status(self) -> Status:
        """Read the state as last written.

        Raises:
            RunError: If it is missing or broken.
        """
        status = files.read_row(Status, self.path / "status.json")
        if status is None:
            raise RunError("not a run: it has no status.json.", where=str(self.path))
        return status

    def state(self) -> State:
        """Return the state as it is: ``running`` with no process behind it is ``interrupted``."""
        state = self.status().state
        if state == "running" and not self._lock.is_held() and os.name == "posix":
            return "interrupted"
        return state

    def set_state(self, state: State, message: str = "") -> None:
        """Write a new state, with the reason if it is not a good one."""
        self._write_status(state, message, started=self.status().started_at)

    def finish(self, summary: Summary) -> None:
        """Write the summary, then the state ``finished``: the last two things a run does."""
        self.write_summary(summary)
        self.set_state("finished")

    # Whole files -------------------------------------------------------------------------

    def write_recipe(self, text: str) -> None:
        """Keep the recipe as it was given."""
        files.write_atomically(self.recipe_path, text)

    def recipe_text(self) -> str | None:
        """Read the recipe as it was given; None before it is written."""
        return self.recipe_path.read_text("utf-8") if self.recipe_path.exists() else None

    def write_resolved(self, resolved: Resolved) -> None:
        """Keep the run with nothing left to be guessed."""
        self._write_row("resolved.json", resolved)

    def resolved(self) -> Resolved | None:
        """Read ``resolved.json``; None before it is written."""
        return files.read_row(Resolved, self.path / "resolved.json")

    def write_summary(self, summary: Summary) -> None:
        """Keep the run in one object."""
        self._write_row("summary.json", summary)

    def summary(self) -> Summary | None:
        """Read ``summary.json``; None before the run is finished."""
        return files.read_row(Summary, self.path / "summary.json")

    def write_samples(self, samples: Iterable[Sample]) -> None:
        """Keep answers before and after; written again when the later ones are there."""
        files.write_rows(self.path / "samples.jsonl", samples)

    def samples(self) -> list[Sample]:
        """Read ``samples.jsonl``; empty before it is written."""
        return list(files.read_rows(Sample, self.path / "samples.jsonl"))

    def write_scores(self, rows: Iterable[ScoreRow]) -> None:
        """Keep what a reward model gives the answers of the evaluation records."""
        files.write_rows(self.path / "scores.jsonl", rows)

    def scores(self) -> Iterator[ScoreRow]:
        """Read ``scores.jsonl`` row by row; nothing where no reward model was trained.

        Raises:
            RunError: At the first broken line.
        """
        return files.read_rows(ScoreRow, self.path / "scores.jsonl")

    def write_dropped(self, drops: Iterable[Dropped]) -> None:
        """Keep what is not trained, with the reasons."""
        files.write_rows(self.path / "dropped.jsonl", drops)

    def dropped(self) -> list[Dropped]:
        """Read ``dropped.jsonl``; empty if nothing was dropped."""
        return list(files.read_rows(Dropped, self.path / "dropped.jsonl"))

    def rejected(self) -> list[Rejected]:
        """Read ``rejected.jsonl``; empty if every line was a record."""
        return list(files.read_rows(Rejected, self.rejected_path))

    # Metrics -----------------------------------------------------------------------------

    def append_metrics(self, row: MetricsRow) -> None:
        """Append one line and hand it to the system, so that a kill cannot take it back.

        Write the rows of a step before its checkpoint: what a resumed run then cuts off is what
        it will write again.
        """
        if self._metrics is None:
            files.cut_torn_line(self.metrics_path)
            self._metrics = self.metrics_path.open("a", encoding="utf-8", newline="\n")
        self._metrics.write(row.to_json() + "\n")
        self._metrics.flush()

    def metrics(self) -> Iterator[MetricsRow]:
        """Read row by row; a line that a kill tore is passed over.

        Raises:
            RunError: If any other line is broken, with its number.
        """
        return files.read_rows(MetricsRow, self.metrics_path)

    def truncate_after(self, step: int) -> None:
        """Cut off the rows after ``step``, and a torn line, so that a resumed run writes them anew.

        The file is cut in place, at the first row of a later step.
        """
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        files.cut_torn_line(self.metrics_path)
        if not self.metrics_path.exists():
            return
        keep_bytes = 0
        with self.metrics_path.open("r+b") as file:
            for number, line in enumerate(file, start=1):
                row = files.parse_row(MetricsRow, line, f"{self.metrics_path}:{number}")
                if row.step > step:
                    break
                keep_bytes += len(line)
            file.truncate(keep_bytes)

    # Inner -------------------------------------------------------------------------------

    def _write_row(self, name: str, row: Row) -> None:
        files.write_atomically(self.path / name, row.to_json(indent=2) + "\n")

    def _write_status(self, state: State, message: str, *, started: datetime) -> None:
        status = Status(state=state, started_at=started, updated_at=_now(), message=message)
        self._write_row("status.json", status)

    def _take_lock(self) -> None:
        if not self._lock.acquire():
            raise RunError(
                "another process is training in this run; wait for it or stop it, or give this "
                "run another name.",
                where=str(self.path),
            )
        self._writes = True

    def _remove_contents(self) -> None:
        for name in CONTENTS:
            entry = self.path / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)


def find_runs(folder: Path) -> list[RunDirectory]:
    """Return the runs directly in ``folder``, by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    runs = (RunDirectory(entry) for entry in sorted(folder.iterdir()) if entry.is_dir())
    return [run for run in runs if run.is_run()]


def _already_there(run: RunDirectory) -> RunError:
    if run.status().state == "finished":
        message = "a finished run is here; use --overwrite to train it anew, or another name."
    elif run.state() == "running":
        message = "this run is being trained by another process; give yours another name."
    else:
        message = (
            "an unfinished run is here; use --resume to go on with it, or --overwrite to begin "
            "anew."
        )
    return RunError(message, where=str(run.path))


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
