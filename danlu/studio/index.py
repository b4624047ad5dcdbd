"""The list of all runs, kept in SQLite so that ten thousand of them open at once.

A cache and nothing else: every number comes from a run directory and is read again when the
directory has changed. Deleting the file costs one slow look.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from danlu.errors import RunError
from danlu.runs import RunDirectory
from danlu.runs.findings import FOLDER as DIAGNOSIS
from danlu.runs.findings import read_probes
from danlu.runs.notes import read_notes
from danlu.studio.tail import Tail, read_tail
from danlu.studio.workspace import Workspace

VERSION = 1
"""Of the table; another one is made anew."""
BUDGET_S = 0.4
"""How long a request may read changed runs; the rest waits for the next one."""
FRESH_NS = 2_000_000_000
"""A directory changed so recently may change again within the clock's grain: it is read again."""
SORTS = ("started", "name", "state", "best", "loss", "steps")
STATES = ("running", "finished", "failed", "interrupted", "broken")


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of the list.

    Attributes:
        name: In addresses, ``FOLDER/NAME``.
        state: Of the run; ``broken`` where a file of it cannot be read.
        message: Why it failed, stopped or is broken.
        started: When it began, ISO 8601.
        model: What was tuned.
        method: How.
        objective: What was minimised.
        steps: Optimizer steps done.
        total_steps: Planned; 0 if unknown.
        loss: Training loss at the end, or the last one.
        best: Lowest evaluation loss; None without an evaluation.
        best_step: The step that had it.
        task_types: Its task types.
        tags: Of its notes.
        note: Likewise.
        serious: Serious findings.
        warnings: Warnings.
    """

    name: str
    state: str
    message: str = ""
    started: str = ""
    model: str = ""
    method: str = ""
    objective: str = ""
    steps: int = 0
    total_steps: int = 0
    loss: float | None = None
    best: float | None = None
    best_step: int | None = None
    task_types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    note: str = ""
    serious: int = 0
    warnings: int = 0


@dataclass(frozen=True)
class Query:
    """What of the list is wanted.

    Attributes:
        text: Words that all must be found in name, model, task types, tags or note.
        state: One state, or empty for all.
        tag: One tag, or empty.
        task_type: One task type or area, or empty.
        sort: One of ``SORTS``.
        descending: The other way round; runs without a value come last either way.
        first: How many to pass over.
        count: How many at most.
    """

    text: str = ""
    state: str = ""
    tag: str = ""
    task_type: str = ""
    sort: str = "started"
    descending: bool = True
    first: int = 0
    count: int = 100


@dataclass(frozen=True)
class Listing:
    """A part of the list.

    Attributes:
        rows: The runs.
        total: How many the query finds.
        unread: Runs that changed and are not read yet: ask again.
    """

    rows: list[RunRow]
    total: int
    unread: int


COLUMNS = [field.name for field in fields(RunRow)]
_LISTS = ("task_types", "tags")


class RunIndex:
    """The index of one workspace; safe to use from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._file = workspace.own / "runs.sqlite"
        self._base: sqlite3.Connection | None = None

    def find(self, query: Query, budget_s: float = BUDGET_S) -> Listing:
        """Bring the index up to date as far as the time allows, and ask it."""
        with self._lock:
            base = self._open()
            unread = self._refresh(base, budget_s)
            where, values = _where(query)
            total = base.execute(f"select count(*) from runs where {where}", values).fetchone()[0]
            sort = query.sort if query.sort in SORTS else "started"
            order = "desc" if query.descending else "asc"
            found = base.execute(
                f"select {', '.join(COLUMNS)} from runs where {where} "
                f"order by {sort} is null, {sort} {order}, name limit ? offset ?",
                (*values, query.count, query.first),
            )
            rows = [_row(values) for values in found]
        return Listing([self._alive(row) for row in rows], total, unread)

    def words(self) -> tuple[list[str], list[str]]:
        """Return all tags and all task types, to choose from."""
        with self._lock:
            base = self._open()
            found = [
                base.execute(
                    f"select distinct value from runs, json_each(runs.{name}) order by value"
                ).fetchall()
                for name in ("tags", "task_types")
            ]
        tags, task_types = ([value for (value,) in one] for one in found)
        return tags, task_types

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._base is not None:
                self._base.close()
                self._base = None

    # Inner -----------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._base is None:
            self._base = sqlite3.connect(self._file, check_same_thread=False)
            try:
                self._base.execute("pragma journal_mode = wal")
                known = self._base.execute("pragma user_version").fetchone()[0]
            except sqlite3.DatabaseError:  # no database: a cache is made anew
                self._base.close()
                self._file.unlink()
                self._base, known = sqlite3.connect(self._file, check_same_thread=False), -1
            if known != VERSION:
                self._base.executescript(
                    f"drop table if exists runs; create table runs (stamp text, "
                    f"{', '.join(COLUMNS)}, primary key (name)); pragma user_version = {VERSION}"
                )
        return self._base

    def _refresh(self, base: sqlite3.Connection, budget_s: float) -> int:
        known = dict(base.execute("select name, stamp from runs").fetchall())
        now = dict(self._stamps())
        gone = [(name,) for name in known.keys() - now.keys()]
        base.executemany("delete from runs where name = ?", gone)
        changed = [
            name for name, (stamp, _) in now.items() if known.get(name) != stamp or not stamp
        ]
        changed.sort(key=lambda name: now[name][1], reverse=True)  # what is new is wanted first
        until, read = time.monotonic() + budget_s, 0
        rows = []
        for name in changed:
            if read and time.monotonic() > until:
                break
            read += 1
            try:
                row = read_run(self._workspace.run(name), name)
            except RunError:  # gone by now, or a link that leads out of the workspace
                continue
            rows.append((now[name][0], *_values(row)))
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        base.executemany(f"insert or replace into runs values ({marks})", rows)
        base.commit()
        return len(changed) - read

    def _stamps(self) -> Iterator[tuple[str, tuple[str, int]]]:
        """Yield each run's name, what changes when its files do, and when that was.

        Files of a run are replaced as a whole, which changes the time of the directory; only the
        metrics grow in place.
        """
        newest = time.time_ns() - FRESH_NS
        for label, folder in self._workspace.folders.items():
            try:
                entries = list(os.scandir(folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                if not entry.is_dir() or not os.path.exists(f"{entry.path}/status.json"):
                    continue
                times = [entry.stat().st_mtime_ns]
                size = 0
                for part in (DIAGNOSIS, "metrics.jsonl"):
                    try:
                        found = os.stat(f"{entry.path}/{part}")
                    except OSError:
                        continue
                    times.append(found.st_mtime_ns)
                    size = found.st_size
                last = max(times)
                stamp = "" if last > newest else f"{times}{size}"
                yield f"{label}/{entry.name}", (stamp, last)

    def _alive(self, row: RunRow) -> RunRow:
        """Tell a run that says it is running from one that was killed."""
        if row.state != "running":
            return row
        try:
            state = self._workspace.run(row.name).state()
        except RunError:
            return row
        values = {name: getattr(row, name) for name in COLUMNS}
        return RunRow(**{**values, "state": state})


def read_run(run: RunDirectory, name: str) -> RunRow:
    """Read what the list shows of a run; a broken file is told, and no reason to show nothing."""
    try:
        status, summary, resolved = run.status(), run.summary(), run.resolved()
        notes, probes = read_notes(run.path), read_probes(run.path)
        tail = Tail() if summary is not None else read_tail(run.metrics_path)
    except (RunError, OSError) as error:
        return RunRow(name=name, state="broken", message=str(error))
    recipe: dict[str, Any] = resolved.recipe if resolved else {}
    findings = [finding.severity for probe in probes for finding in probe.findings]
    return RunRow(
        name=name,
        state=status.state,
        message=status.message,
        started=status.started_at.isoformat(),
        model=str(recipe.get("model", {}).get("path", summary.model if summary else "")),
        method=str(recipe.get("tuning", {}).get("method", summary.method if summary else "")),
        objective=resolved.objective if resolved else "",
        steps=summary.steps if summary else tail.step,
        total_steps=(resolved.total_steps or 0) if resolved else 0,
        loss=summary.last_loss if summary else tail.loss,
        best=summary.best_eval_loss if summary else tail.best,
        best_step=summary.best_eval_step if summary else tail.best_step,
        task_types=tuple(sorted(resolved.records)) if resolved else (),
        tags=notes.tags,
        note=notes.note,
        serious=findings.count("serious"),
        warnings=findings.count("warning"),
    )


def _where(query: Query) -> tuple[str, list[Any]]:
    parts, values = ["1"], []
    for word in query.text.split():
        parts.append(
            r"(name || ' ' || model || ' ' || objective || ' ' || method || ' ' || note || ' ' || "
            r"tags || ' ' || task_types) like ? escape '\'"
        )
        values.append(f"%{_plain(word)}%")
    if query.state:
        parts.append("state = ?")
        values.append(query.state)
    if query.tag:
        parts.append("exists (select 1 from json_each(tags) where value = ?)")
        values.append(query.tag)
    if query.task_type:
        parts.append(
            "exists (select 1 from json_each(task_types) where value = ? or value like ? "
            r"escape '\')"
        )
        values += [query.task_type, f"{_plain(query.task_type)}/%"]
    return " and ".join(parts), values


def _plain(text: str) -> str:
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, f"\\{sign}")
    return text


def _values(row: RunRow) -> list[Any]:
    plain = {name: getattr(row, name) for name in COLUMNS}
    for name in _LISTS:
        plain[name] = json.dumps(plain[name], ensure_ascii=False)
    return [plain[name] for name in COLUMNS]


def _row(values: Sequence[Any]) -> RunRow:
    plain = dict(zip(COLUMNS, values, strict=True))
    for name in _LISTS:
        plain[name] = tuple(json.loads(plain[name]))
    return RunRow(**plain)
