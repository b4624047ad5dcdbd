"""Alerts while a run goes on: the curves are looked at now and then, and what is sure is said once.

Training knows nothing of this: the command line hands it ``live_alerts``, which sees each row of
metrics as it is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from danlu.diagnosis.curves.curves import RunCurves
from danlu.diagnosis.curves.detectors import Detector, findings
from danlu.diagnosis.curves.gradient import spikes
from danlu.diagnosis.curves.heldout import held_out
from danlu.diagnosis.curves.levels import initial_loss
from danlu.diagnosis.curves.motion import rises, swings
from danlu.diagnosis.curves.probe import WITHOUT_MEANING, records_of
from danlu.runs import History, MetricsRow, RunDirectory
from danlu.runs.findings import Alert, Finding, append_alert, forget_alerts_after

WHILE_RUNNING: tuple[Detector, ...] = (initial_loss, rises, swings, held_out, spikes)
"""Signs that mean the same in the middle of a run as at its end."""
FIRST_STEP = 5
GROWTH = 1.15
"""The curves are looked at again when there are so many times as many steps, and after each
evaluation: some fifty times in ten thousand steps."""
LOOKS = 50
MOST_SHARE = 0.005
"""Of the time of training that may be spent on looking."""


def live_alerts(run: RunDirectory, say: Callable[[str], None]) -> LiveAlerts:
    """Begin to watch a run, anew or where it goes on.

    Args:
        run: Its settings are written, and its metrics as far as it goes on from them.
        say: Shows a line to the user.
    """
    return LiveAlerts(run, say)


class LiveAlerts:
    """Sees each row of metrics, and says what is surely wrong, each thing once.

    Args:
        run: Where alerts are kept, as ``alerts.jsonl``.
        say: Shows a line to the user.
        clock: Seconds that pass; for tests.
    """

    def __init__(
        self,
        run: RunDirectory,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.run, self.say, self.clock = run, say, clock
        resolved = run.resolved()
        self.settings = resolved.recipe if resolved else {}
        self.silent = resolved is not None and resolved.objective in WITHOUT_MEANING
        self.history = History.of(run.metrics())
        told = forget_alerts_after(run.path, self.history.step)
        self.told = {_key(alert.finding) for alert in told}
        self.records_of = records_of(run)
        self.next_step = max(FIRST_STEP, int(self.history.step * GROWTH))
        self.not_before = clock()

    def __call__(self, row: MetricsRow) -> None:
        """Take a row, and look at the curves if it is time."""
        if self.silent:
            return
        self.history.add(row)
        due = row.step >= self.next_step or (row.split == "eval" and row.step > 0)
        began = self.clock()
        if not due or began < self.not_before or not self.history.overall["train"].steps:
            return
        self.next_step = max(row.step + 1, int(row.step * GROWTH))
        for finding in self._found():
            self._tell(row.step, finding)
        took = self.clock() - began
        self.not_before = began + took / MOST_SHARE

    def _found(self) -> list[Finding]:
        curves = RunCurves.of(
            self.history,
            self.settings,
            finished=False,
            records_of=self.records_of,
            looks=LOOKS,
        )
        found = findings(curves, WHILE_RUNNING)
        return [
            one
            for one in found
            if one.confidence == "high" and one.severity != "note" and _key(one) not in self.told
        ]

    def _tell(self, step: int, finding: Finding) -> None:
        self.told.add(_key(finding))
        append_alert(self.run.path, Alert(step=step, finding=finding))
        remedy = f" {finding.remedies[0].says}" if finding.remedies else ""
        self.say(f"alert at step {step}: {finding.says}{remedy}")


def _key(finding: Finding) -> tuple[str, str | None]:
    return finding.name, finding.task_type
