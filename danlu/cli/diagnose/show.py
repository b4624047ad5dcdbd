"""``danlu diagnose show``."""

from __future__ import annotations

import shlex

import typer

from danlu.cli.findings import tell
from danlu.cli.output import note
from danlu.cli.probe.common import AsJson, Run

EPILOG = """\b
Examples:
  danlu diagnose show runs/my-run
  danlu diagnose show runs/my-run --json

Exit code: as of `danlu diagnose run`.
"""


def show(path: Run, as_json: AsJson = False) -> int:
    """Print what the probes found when they were last asked, and ask nothing."""
    from danlu.runs import RunDirectory
    from danlu.runs.findings import read_probes

    reports = read_probes(RunDirectory.open(path).path)
    if not reports:
        note(f"no probe has looked at this run yet: danlu diagnose {shlex.quote(str(path))}")
        if not as_json:
            return 0
    return tell(reports, as_json)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("show", epilog=EPILOG)(show)
