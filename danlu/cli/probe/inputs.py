"""``danlu probe inputs``."""

from __future__ import annotations

import typer

from danlu.cli.probe.common import AsJson, Run, ask_and_tell

EPILOG = """\b
Examples:
  danlu probe inputs runs/my-run
  danlu probe inputs runs/my-run --json
"""


def inputs(path: Run, as_json: AsJson = False) -> int:
    """Say what a run was really taught: stop tokens, prompts, copies; no model is asked."""
    from danlu.diagnosis.inputs import Inputs

    return ask_and_tell(Inputs(), path, "auto", as_json)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("inputs", epilog=EPILOG)(inputs)
