"""``danlu report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.output import result, result_json

EPILOG = """\b
Examples:
  danlu report runs/quickstart
  danlu report runs/quickstart --json
"""


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, in any state.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with the paths of both files.")
    ] = False,
) -> None:
    """Write a run's report.html and loss.png, and print where."""
    from danlu.runs import write_report

    page, picture = write_report(run)
    if as_json:
        result_json({"report": str(page), "loss": str(picture)})
    else:
        result(f"{page}\n{picture}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", epilog=EPILOG)(report)
