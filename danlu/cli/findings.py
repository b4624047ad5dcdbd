"""Findings as a person reads them: worst first, each with its evidence and what to do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from danlu.cli.output import PIPE_COLUMNS, note, result_json

if TYPE_CHECKING:
    from rich.console import Console

    from danlu.runs import RunDirectory
    from danlu.runs.findings import Evidence, Finding, ProbeReport, Remedy

STYLES = {"serious": "bold red", "warning": "bold yellow", "note": "bold cyan"}
MOST_RECORDS, MOST_STEPS, MOST_CASES = 8, 12, 3
"""So many of them are printed; the JSON has all."""
WIDEST = 100
"""Longer lines are hard to read."""
FOUND, NOTHING_SERIOUS = 1, 0
"""Exit codes, as a linter's: so that a script may stop at a run that is not to be used."""


def tell(reports: Sequence[ProbeReport], as_json: bool) -> int:
    """Print what probes found, and return the exit code.

    Returns:
        1 if something serious was found, of which the probe is at least fairly sure; else 0.
    """
    if as_json:
        result_json([report.model_dump(mode="json") for report in reports], indent=2)
    else:
        _print(reports)
    return FOUND if any(map(_is_serious, _all(reports))) else NOTHING_SERIOUS


def _is_serious(finding: Finding) -> bool:
    return finding.severity == "serious" and finding.confidence != "low"


def _all(reports: Sequence[ProbeReport]) -> list[Finding]:
    from danlu.runs.findings import worst_first

    return worst_first([finding for report in reports for finding in report.findings])


def _print(reports: Sequence[ProbeReport]) -> None:
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS
    console = Console(width=min(width, WIDEST), highlight=False, markup=False, emoji=False)
    probe_of = {id(one): report.probe for report in reports for one in report.findings}
    findings = _all(reports)
    for number, finding in enumerate(findings, 1):
        _finding(console, number, finding, probe_of[id(finding)])
    for reason, names in _skipped(reports).items():
        note(f"{', '.join(names)}: not asked: {reason}")
    looked = [report.probe for report in reports if report.skipped is None]
    if looked and not findings:
        _line(console, f"Nothing found by {', '.join(looked)}.")
    elif looked:
        serious = sum(map(_is_serious, findings))
        told = f"{len(findings)} finding{'s' * (len(findings) != 1)}, {serious} serious"
        note(f"{told}; by {', '.join(looked)}")


def _skipped(reports: Sequence[ProbeReport]) -> dict[str, list[str]]:
    """Return the reasons why probes were not asked, each with the probes that gave it."""
    found: dict[str, list[str]] = {}
    for report in reports:
        if report.skipped is not None:
            found.setdefault(report.skipped, []).append(report.probe)
    return found


def note_unfinished(run: RunDirectory) -> None:
    """Say of a run that is not finished how far it is, as its end is not judged."""
    words = {"running": "is still training", "interrupted": "was stopped", "failed": "failed"}
    state = run.state()
    if state in words:
        from danlu.runs import History

        if step := History.of(run.metrics()).step:
            note(f"this run {words[state]}, at step {step:,}: its end is not judged")


def _finding(console: Console, number: int, finding: Finding, probe: str) -> None:
    from rich.text import Text

    head = Text(f"{number}  ")
    head.append(finding.severity.upper(), STYLES[finding.severity])
    head.append(f"  {finding.name}", "bold")
    where = _visible(finding.task_type or "in all")
    head.append(f"  {where}  ({finding.confidence} confidence, {probe})", "dim")
    console.print(head)
    _line(console, finding.says, indent=3)
    for evidence in finding.evidence:
        _evidence(console, evidence)
    for remedy in finding.remedies:
        _remedy(console, remedy)
    console.print()


def _evidence(console: Console, evidence: Evidence) -> None:
    _line(console, evidence.says, indent=5, mark="·")
    if evidence.steps:
        _line(console, f"steps {_some(evidence.steps, MOST_STEPS)}", indent=7)
    if evidence.records:
        _line(console, f"records {_some(evidence.records, MOST_RECORDS)}", indent=7)
    for case in evidence.cases[:MOST_CASES]:
        for key, value in case.items():
            if value is None:
                continue  # not asked
            _line(console, f"{key}: {_short(value)}", indent=7)
    if (left := len(evidence.cases) - MOST_CASES) > 0:
        _line(console, f"and {left} more", indent=7)
    if evidence.command:
        _line(console, f"$ {evidence.command}", indent=7)


def _remedy(console: Console, remedy: Remedy) -> None:
    _line(console, remedy.says, indent=5, mark="→")
    for path, value in remedy.settings.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        _line(console, f"{path}={text}", indent=7)
    for command in remedy.commands:
        _line(console, f"$ {command}", indent=7)


def _line(console: Console, text: str, *, indent: int = 0, mark: str = "") -> None:
    """Print a text in its column, with a mark before it; wide characters take two columns."""
    from rich.text import Text

    lines = Text(_visible(text)).wrap(console, max(console.width - indent, 20))
    for number, line in enumerate(lines):
        line.rstrip()
        first = f"{mark:<2}" if mark and not number else "  " if mark else ""
        console.print(Text(" " * (indent - len(first)) + first) + line, soft_wrap=True)


def _visible(text: str) -> str:
    from danlu.records.visible import visible

    return visible(text)


def _some(values: Sequence[Any], most: int) -> str:
    shown = ", ".join(str(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"


def _short(value: Any, most: int = 300) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}…"
