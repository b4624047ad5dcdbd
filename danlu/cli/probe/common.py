"""What the commands of ``danlu probe`` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.common import progress_bar
from danlu.cli.findings import tell

if TYPE_CHECKING:
    from danlu.diagnosis.probe import Probe

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, in any state.")]
Device = Annotated[str, typer.Option(help="Where models work: auto, cpu, cuda or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="The findings as JSON.")]


def ask_and_tell(probe: Probe, run: Path, device: str, as_json: bool) -> int:
    """Ask one probe about a run, print what it finds, and return the exit code."""
    from danlu.diagnosis.diagnose import ask, open_run, rewrite_report

    with progress_bar() as progress:
        examined = open_run(run, device=device, progress=progress)
        report = ask(probe, examined)
        rewrite_report(examined.run)
    return tell([report], as_json)
