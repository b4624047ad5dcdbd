"""What the commands of ``danlu probe`` have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from danlu.cli.data.common import progress_bar
from danlu.cli.findings import note_unfinished, tell
from danlu.cli.output import note

if TYPE_CHECKING:
    from danlu.diagnosis.probe import Probe
    from danlu.runs.findings import ProbeReport

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, in any state.")]
Device = Annotated[str, typer.Option(help="Where models work: auto, cpu, cuda or mps.")]
Minutes = Annotated[
    float | None,
    typer.Option(help="Longest time that models work; what is left out is said.", min=0),
]
AsJson = Annotated[bool, typer.Option("--json", help="The findings as JSON.")]


def ask_and_tell(
    probe: Probe,
    run: Path,
    device: str,
    as_json: bool,
    before: Callable[[ProbeReport], None] | None = None,
) -> int:
    """Ask one probe about a run, print what it finds, and return the exit code.

    Args:
        probe: The probe.
        run: The run directory.
        device: Where models work.
        as_json: Print JSON.
        before: Prints what this probe has to show before its findings; not with JSON.
    """
    from danlu.diagnosis.diagnose import ask, open_run, rewrite_report

    with progress_bar() as progress:
        examined = open_run(run, device=device, progress=progress)
        report = ask(probe, examined)
        rewrite_report(examined.run)
    if before is not None and report.skipped is None and not as_json:
        before(report)
        for line in cast("list[str]", report.figures.get("notes", [])):
            note(line)
    code = tell([report], as_json)
    note_unfinished(examined.run)
    return code
