"""What a diagnosis leaves in a run directory: ``diagnosis/<probe>.json``, one file per probe.

A probe that runs again replaces its own file and no other. What was told while the run went on
is in ``alerts.jsonl``. Report and studio read the same rows.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from danlu.runs import files
from danlu.runs.schema import Row, Text

FOLDER = "diagnosis"
ALERTS = "alerts.jsonl"

Severity = Literal["serious", "warning", "note"]
"""``serious``: the run is not to be used as it is; ``warning``: it could be better, or the next
one will suffer; ``note``: worth knowing, nothing to mend."""

Confidence = Literal["high", "medium", "low"]
"""How sure a finding is. ``high`` is kept for what sound runs do not show."""

_RANK = {"serious": 0, "warning": 1, "note": 2, "high": 0, "medium": 1, "low": 2}


class Evidence(Row):
    """One thing a finding rests on, that can be looked at or run again.

    Attributes:
        says: One sentence with the figures in it.
        figures: The same figures by name, for pages and programs.
        steps: Optimizer steps it speaks of; pages mark them on the curve.
        records: Ids of training records it speaks of, worst first.
        cases: Prompts and answers that show it: ``prompt``, ``answer``, ``reference`` and so on.
        command: What to type to see it again; None if the file itself shows it.
    """

    says: Text
    figures: dict[str, float | int | str | bool | None] = Field(default_factory=dict)
    steps: tuple[int, ...] = ()
    records: tuple[Text, ...] = ()
    cases: tuple[dict[str, JsonValue], ...] = ()
    command: Text | None = None


class Remedy(Row):
    """One thing to do about a finding, in terms of the recipe or the data.

    Attributes:
        says: What to do and why, in a sentence or two.
        settings: Settings of the recipe to change, by their paths: ``{"optimizer.lr": 1e-4}``.
        commands: Commands that do it: ``danlu data drop ...``.
    """

    says: Text
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    commands: tuple[Text, ...] = ()


class Finding(Row):
    """One thing that a probe found.

    Attributes:
        name: What it is, in short and stable: ``loss-rises``, ``overfitted``.
        task_type: Which task type it speaks of; None for the run as a whole.
        says: One sentence a person reads first.
        severity: How bad it is.
        confidence: How sure it is.
        evidence: What it rests on.
        remedies: What to do, best first.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    task_type: Text | None = None
    says: Text
    severity: Severity
    confidence: Confidence
    evidence: tuple[Evidence, ...] = Field(min_length=1)
    remedies: tuple[Remedy, ...] = ()


class ProbeReport(Row):
    """What one probe found in one run.

    Attributes:
        probe: Its name: ``curves``, ``fit``, ``pattern`` ...
        made_at: When.
        settings: What it was asked with, so that it can be run again.
        findings: Worst first; empty if it looked and found nothing.
        skipped: Why it could not look, where it could not; then there are no findings.
        figures: Tables and series that pages draw, by name; may be large.
        command: What to type to run it again.
    """

    probe: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    made_at: datetime
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    skipped: Text | None = None
    figures: dict[str, JsonValue] = Field(default_factory=dict)
    command: Text | None = None


class Alert(Row):
    """A finding that was told while the run went on; a line of ``alerts.jsonl``.

    Attributes:
        step: The last step that was known then.
        finding: What was told.
    """

    step: int = Field(ge=0)
    finding: Finding


def append_alert(run: Path, alert: Alert) -> None:
    """Keep an alert, so that pages can show it."""
    with (run / ALERTS).open("a", encoding="utf-8", newline="\n") as file:
        file.write(alert.to_json() + "\n")


def read_alerts(run: Path) -> list[Alert]:
    """Return what was told while a run went on, in order; a line that a kill tore is passed over.

    Raises:
        RunError: If any other line is broken.
    """
    return list(files.read_rows(Alert, run / ALERTS))


def forget_alerts_after(run: Path, step: int) -> list[Alert]:
    """Remove alerts of later steps, which a resumed run goes through again; return the others.

    Raises:
        RunError: If a line is broken.
    """
    alerts = read_alerts(run)
    kept = [alert for alert in alerts if alert.step <= step]
    if (run / ALERTS).exists():
        files.write_rows(run / ALERTS, kept)
    return kept


def write_probe(run: Path, report: ProbeReport) -> Path:
    """Keep what a probe found in the run directory, in place of what it found before.

    Args:
        run: The run directory.
        report: Its findings may be in any order; they are written worst first.

    Returns:
        The file.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{report.probe}.json"
    ordered = report.model_copy(update={"findings": tuple(worst_first(report.findings))})
    files.write_atomically(path, ordered.to_json(indent=2) + "\n")
    return path


def read_probes(run: Path) -> list[ProbeReport]:
    """Return what each probe found in a run, by name of the probe; empty if none has looked.

    Raises:
        RunError: If a file there is broken.
    """
    paths = sorted((run / FOLDER).glob("*.json"))
    reports = (files.read_row(ProbeReport, path) for path in paths)
    return [report for report in reports if report is not None]


def worst_first(findings: tuple[Finding, ...] | list[Finding]) -> list[Finding]:
    """Order findings by severity, then by how sure they are, then as they were."""
    return sorted(findings, key=lambda one: (_RANK[one.severity], _RANK[one.confidence]))
