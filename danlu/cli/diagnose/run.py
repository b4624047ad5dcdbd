"""``danlu diagnose run``."""

from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.data.common import progress_bar
from danlu.cli.findings import note_unfinished, tell
from danlu.cli.probe.common import AsJson, Device, Run

EPILOG = """\b
Examples:
  danlu diagnose runs/my-run
  danlu diagnose runs/my-run --curves
  danlu diagnose runs/my-run --only curves --only fit --json

Without --only all probes of `danlu diagnose list` are asked; those that ask a model take minutes.
What they find is kept in RUN/diagnosis, and shown in report.html.

Exit code: 0 if nothing serious was found, 1 if something was, 2 if the run could not be looked at.
"""


def run(
    path: Run,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="PROBE", help="Ask this probe; again for more."),
    ] = None,
    curves: Annotated[
        bool, typer.Option("--curves", help="The same as --only curves: no model is asked.")
    ] = False,
    fit: Annotated[
        bool, typer.Option("--fit", help="The same as --only fit: each type, learned or not.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> int:
    """Ask the probes about a run, and print what they find, worst first."""
    from danlu.diagnosis.diagnose import diagnose
    from danlu.runs import RunDirectory

    flags = {"curves": curves, "fit": fit}
    names = [*(only or []), *(name for name, asked in flags.items() if asked)]
    with progress_bar() as progress:
        reports = diagnose(path, names, device=device, progress=progress)
    code = tell(reports, as_json)
    note_unfinished(RunDirectory.open(path))
    return code


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("run", epilog=EPILOG)(run)
