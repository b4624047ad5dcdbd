"""``danlu probe curves``."""

from __future__ import annotations

import typer

from danlu.cli.probe.common import AsJson, Run, ask_and_tell

EPILOG = """\b
Examples:
  danlu probe curves runs/my-run
  danlu probe curves runs/my-run --json
"""


def curves(path: Run, as_json: AsJson = False) -> int:
    """Say what the loss curves of a run show, in all and per task type; no model is asked."""
    from danlu.diagnosis.curves import Curves

    return ask_and_tell(Curves(), path, "auto", as_json)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("curves", epilog=EPILOG)(curves)
