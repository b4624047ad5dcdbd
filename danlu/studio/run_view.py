"""What the page of a run shows besides its curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from danlu.runs import RunDirectory, Summary
from danlu.runs.findings import Finding, read_probes
from danlu.runs.page import setting_views
from danlu.runs.schema import Resolved, Status
from danlu.studio.curves import Key, RunCurves
from danlu.studio.jobs.table import JobView


@dataclass(frozen=True)
class RunView:
    """A run as it is now.

    Attributes:
        name: In addresses.
        run: Its files.
        state: As it is, whatever was last written.
        status: As written.
        resolved: Its settings; None before they are known.
        summary: None before it is finished.
        job: The job of this studio that trained it last.
        step: The last step with a row.
        total_steps: Planned.
        epoch: Passes over the data.
        elapsed_s: Seconds of training.
        loss: The last training loss.
        best: The lowest evaluation loss, and its step.
        speed: Tokens per second, the last.
    """

    name: str
    run: RunDirectory
    state: str
    status: Status
    resolved: Resolved | None
    summary: Summary | None
    job: JobView | None
    step: int
    total_steps: int
    epoch: float
    elapsed_s: float
    loss: float | None
    best: tuple[float, int] | None
    speed: float | None

    @property
    def own_name(self) -> str:
        """Without its folder."""
        return self.name.rpartition("/")[2]

    @property
    def left_s(self) -> float | None:
        """Seconds still to go, at the speed so far; None if nobody knows."""
        if self.state != "running" or not self.step or not self.total_steps:
            return None
        return self.elapsed_s / self.step * max(0, self.total_steps - self.step)


def view_run(name: str, run: RunDirectory, curves: RunCurves, job: JobView | None) -> RunView:
    """Read what a run's page shows.

    Raises:
        RunError: If a file of it is broken.
    """
    status, resolved, summary = run.status(), run.resolved(), run.summary()
    evaluation = _column(curves, Key("loss", "eval"))
    best = min(zip(evaluation[1], evaluation[0], strict=True), default=None)
    train = _column(curves, Key("loss", "train"))[1]
    speed = _column(curves, Key("tokens_per_second", "train"))[1]
    return RunView(
        name=name,
        run=run,
        state=run.state(),
        status=status,
        resolved=resolved,
        summary=summary,
        job=job,
        step=curves.last,
        total_steps=(resolved.total_steps or 0) if resolved else 0,
        epoch=curves.epoch,
        elapsed_s=curves.elapsed_s,
        loss=summary.last_loss if summary else train[-1] if train else None,
        best=(float(best[0]), int(best[1])) if best else None,
        speed=speed[-1] if speed else None,
    )


def _column(curves: RunCurves, key: Key) -> tuple[list[int], list[float]]:
    if not curves.has(key):
        return [], []
    steps, values = curves.columns(key)
    return steps.tolist(), values.tolist()


@dataclass(frozen=True)
class Mark:
    """A finding, and the steps it speaks of.

    Attributes:
        probe: Which probe found it.
        finding: What it says.
        steps: Of all its evidence, ascending.
    """

    probe: str
    finding: Finding
    steps: tuple[int, ...]

    def for_chart(self) -> dict[str, Any]:
        """Return what the chart draws."""
        says = self.finding.model_dump(include={"name", "severity", "says"})
        return {**says, "steps": self.steps}


def marks(run: RunDirectory) -> list[Mark]:
    """Return all findings of a run, worst first.

    Raises:
        RunError: If a file of a probe is broken.
    """
    found = [
        Mark(report.probe, one, tuple(sorted({s for e in one.evidence for s in e.steps})))
        for report in read_probes(run.path)
        for one in report.findings
    ]
    rank = {"serious": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda mark: rank[mark.finding.severity])


@dataclass(frozen=True)
class SettingRow:
    """One setting of several runs.

    Attributes:
        path: As it is typed.
        values: In each run, as text; empty where a run of another version lacks it.
        usual: The default.
        meaning: What it does.
        differs: Whether the runs differ.
        changed: Whether any differs from the default.
    """

    path: str
    values: tuple[str, ...]
    usual: str
    meaning: str
    differs: bool
    changed: bool


def setting_rows(resolved: Sequence[Resolved | None]) -> list[SettingRow]:
    """Put the settings of runs side by side: what differs first, then what is not the default.

    Example:
        >>> from danlu.runs import Environment
        >>> where = Environment(versions={}, platform="Linux", cpu_count=2)
        >>> runs = [Resolved(recipe={"name": name}, environment=where) for name in "ab"]
        >>> [(row.path, row.values, row.differs) for row in setting_rows(runs)]
        [('name', ('a', 'b'), True)]
    """
    tables = [
        {view.path: view for view in setting_views(one.recipe)} if one else {} for one in resolved
    ]
    paths = list(dict.fromkeys(path for table in tables for path in table))
    rows = []
    for path in paths:
        views = [table.get(path) for table in tables]
        known = next(view for view in views if view is not None)
        values = tuple(view.value if view else "" for view in views)
        rows.append(
            SettingRow(
                path=path,
                values=values,
                usual=known.default,
                meaning=known.meaning,
                differs=len(set(values)) > 1,
                changed=any(view.changed for view in views if view),
            )
        )
    return sorted(rows, key=lambda row: (not row.differs, not row.changed))
