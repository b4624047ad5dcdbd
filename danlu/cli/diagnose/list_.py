"""``danlu diagnose list``."""

from __future__ import annotations

import typer

from danlu.cli.output import result_json, table
from danlu.cli.probe.common import AsJson

EPILOG = """\b
Examples:
  danlu diagnose list
  danlu diagnose list --json
"""


def list_(as_json: AsJson = False) -> None:
    """List the probes that `danlu diagnose RUN` asks."""
    from danlu.diagnosis.probes import PROBES

    if as_json:
        names = ("name", "says", "asks_models")
        result_json([{name: getattr(one, name) for name in names} for one in PROBES], indent=2)
        return
    rows = [(one.name, "yes" if one.asks_models else "no", one.says) for one in PROBES]
    table(("probe", "asks a model", "finds"), rows)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("list", epilog=EPILOG)(list_)
