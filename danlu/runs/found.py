"""What probes found, as the report page shows it: findings worst first, and marks on the curve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.runs.findings import (
    Alert,
    Evidence,
    Finding,
    ProbeReport,
    read_alerts,
    read_probes,
    worst_first,
)

MOST_FINDINGS = 40
MOST_RECORDS = 12
MOST_CASES = 5
MOST_STEPS = 6
"""Marks per finding; of all of these the files have the rest."""


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """One piece of evidence: its sentence, records in one line, and cases as names and texts."""

    says: str
    records: str
    cases: list[list[tuple[str, str]]]
    command: str | None


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding with its number, which the marks on the curve bear too."""

    number: int
    finding: Finding
    probe: str
    evidence: list[EvidenceView]
    remedies: list[tuple[str, list[str], tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a run's faults.

    Attributes:
        views: Worst first.
        left: How many more there are.
        skipped: Probes that could not look, with the reason.
        alerts: What was told while it ran.
        asked: Whether any probe has looked.
    """

    views: list[FindingView]
    left: int
    skipped: list[tuple[str, str]]
    alerts: list[Alert]
    asked: bool

    @property
    def marks(self) -> list[list[int]]:
        """Steps to mark on the curve, each with the number of its finding."""
        marks = []
        for view in self.views:
            steps = sorted({step for one in view.finding.evidence for step in one.steps})
            marks += [[step, view.number] for step in steps[:MOST_STEPS]]
        return marks


def found_in(run: Path) -> Found:
    """Read what probes and alerts have left in a run directory.

    Raises:
        RunError: If one of the files is broken.
    """
    reports = read_probes(run)
    probe_of = {id(one): report.probe for report in reports for one in report.findings}
    ordered = worst_first([one for report in reports for one in report.findings])
    views = [
        _view(number, one, probe_of[id(one)])
        for number, one in enumerate(ordered[:MOST_FINDINGS], 1)
    ]
    return Found(
        views=views,
        left=len(ordered) - len(views),
        skipped=_skipped(reports),
        alerts=read_alerts(run),
        asked=any(report.skipped is None for report in reports),
    )


def _skipped(reports: Sequence[ProbeReport]) -> list[tuple[str, str]]:
    return [(one.probe, one.skipped) for one in reports if one.skipped is not None]


def _view(number: int, finding: Finding, probe: str) -> FindingView:
    remedies = [
        (one.says, [f"{path}={_text(value)}" for path, value in one.settings.items()], one.commands)
        for one in finding.remedies
    ]
    evidence = [_evidence(one) for one in finding.evidence]
    return FindingView(number, finding, probe, evidence, remedies)


def _evidence(evidence: Evidence) -> EvidenceView:
    records = ", ".join(evidence.records[:MOST_RECORDS])
    if (left := len(evidence.records) - MOST_RECORDS) > 0:
        records += f" and {left} more"
    cases = [
        [(key, _text(value)) for key, value in case.items()] for case in evidence.cases[:MOST_CASES]
    ]
    return EvidenceView(evidence.says, records, cases, evidence.command)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
