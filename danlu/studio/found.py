"""The findings of all runs of a workspace, kept in memory and read again where they changed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from danlu.errors import RunError
from danlu.runs.findings import FOLDER, ProbeReport, read_probes
from danlu.studio.workspace import Workspace

BUDGET_S = 0.4
"""How long a request may read what changed; the rest waits for the next one."""
FRESH_NS = 2_000_000_000
"""A folder changed so recently may change again within the clock's grain: it is read again."""
_SEVERITY = {"serious": 0, "warning": 1, "note": 2}
_CONFIDENCE = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class FoundRow:
    """One finding of one run, in short.

    Attributes:
        run: In addresses, ``FOLDER/NAME``.
        probe: Which found it.
        place: Its index among the probe's findings.
        name: What it is.
        task_type: Of which; empty for the run as a whole.
        says: In a sentence.
        severity: How bad it is.
        confidence: How sure it is.
    """

    run: str
    probe: str
    place: int
    name: str
    task_type: str
    says: str
    severity: str
    confidence: str

    @property
    def rank(self) -> tuple[int, int]:
        """Worst first, then surest."""
        return _SEVERITY[self.severity], _CONFIDENCE[self.confidence]

    @property
    def anchor(self) -> str:
        """Of its card on the page of its run."""
        return f"{self.probe}-{self.place}"


@dataclass(frozen=True)
class FoundIn:
    """What is known of one run.

    Attributes:
        rows: Its findings.
        fault: Why its diagnosis cannot be read; empty if it can.
    """

    rows: tuple[FoundRow, ...] = ()
    fault: str = ""


@dataclass
class FoundList:
    """The findings of a workspace.

    Attributes:
        rows: Worst first; of one rank, by run.
        runs: Runs that a probe has looked at.
        faults: Of runs whose diagnosis cannot be read: run and why.
        unread: Runs whose diagnosis changed and is not read yet: ask again.
    """

    rows: list[FoundRow] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    unread: int = 0


class FoundIndex:
    """Knows the findings of one workspace; safe to use from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, FoundIn]] = {}

    def all(self, budget_s: float = BUDGET_S) -> FoundList:
        """Read what changed, as far as the time allows, and return all that is known."""
        with self._lock:
            unread = self._refresh(budget_s)
            found = FoundList(unread=unread)
            for name, (_, of) in self._known.items():
                found.runs.append(name)
                found.rows += of.rows
                if of.fault:
                    found.faults.append((name, of.fault))
        found.runs.sort()
        found.faults.sort()
        found.rows.sort(key=lambda row: (row.rank, row.run, row.probe, row.place))
        return found

    def _refresh(self, budget_s: float) -> int:
        now = dict(self._stamps())
        for name in self._known.keys() - now.keys():
            del self._known[name]
        newest = time.time_ns() - FRESH_NS
        changed = [
            name
            for name, stamp in now.items()
            if name not in self._known or self._known[name][0] != stamp or stamp > newest
        ]
        changed.sort(key=now.__getitem__, reverse=True)  # what is new is wanted first
        until, read = time.monotonic() + budget_s, 0
        for name in changed:
            if read and time.monotonic() > until:
                break
            read += 1
            try:
                run = self._workspace.run(name)
            except RunError:  # gone by now, or a link that leads out of the workspace
                self._known.pop(name, None)
                continue
            try:
                of = FoundIn(tuple(rows_of(name, read_probes(run.path))))
            except (RunError, OSError) as error:
                of = FoundIn(fault=str(error))
            self._known[name] = now[name], of
        return len(changed) - read

    def _stamps(self) -> Iterator[tuple[str, int]]:
        """Yield each diagnosed run, and when a file of its diagnosis was last replaced."""
        for label, folder in self._workspace.folders.items():
            try:
                entries = list(os.scandir(folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                try:
                    changed = os.stat(f"{entry.path}/{FOLDER}").st_mtime_ns
                except OSError:
                    continue
                yield f"{label}/{entry.name}", changed


def rows_of(run: str, reports: list[ProbeReport]) -> Iterator[FoundRow]:
    """Give the findings of a run in short."""
    for report in reports:
        for place, one in enumerate(report.findings):
            yield FoundRow(
                run,
                report.probe,
                place,
                one.name,
                one.task_type or "",
                one.says,
                one.severity,
                one.confidence,
            )
