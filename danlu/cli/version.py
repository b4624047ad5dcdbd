"""``danlu version``."""

from __future__ import annotations

from typing import Annotated

import typer

import danlu
from danlu.cli.output import result, result_json

EPILOG = """\b
Examples:
  danlu version
  danlu version --json    with Python, torch and the platform, for a bug report
"""


def version(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, with all that a bug report needs.")
    ] = False,
) -> None:
    """Print the version."""
    if not as_json:
        result(f"danlu {danlu.__version__}")
        return
    from danlu.runs import collect_environment

    result_json(collect_environment().model_dump(), indent=2)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("version", epilog=EPILOG)(version)
