"""``danlu quickstart``."""

from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.options import Settings

EPILOG = """\b
Examples:
  danlu quickstart
  danlu quickstart training.epochs=2

Its figures stand in runs/quickstart/summary.json. It can be stopped and run again.
"""


def quickstart(
    settings: Settings = None,
    runs_dir: Annotated[str, typer.Option(help="Where its run directory is made.")] = "runs",
) -> int:
    """Fine-tune the built-in model, and show what it learned."""
    from danlu.quickstart.run import quickstart as run_quickstart

    return run_quickstart(runs_dir, settings=settings or ())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("quickstart", epilog=EPILOG)(quickstart)
