"""``danlu formats``."""

from __future__ import annotations

import json

import typer

from danlu.cli.options import AsJsonArray
from danlu.cli.output import result, result_json

EPILOG = """\b
Examples:
  danlu formats
  danlu formats --json

A format is recognised by its content; name it in the recipe where that fails: data.train[0].format.
"""


def formats(
    as_json: AsJsonArray = False,
) -> None:
    """List the data formats, each with a sample row."""
    from danlu.records import FORMATS

    if as_json:
        names = ("name", "summary", "columns", "sample")
        result_json([{name: getattr(known, name) for name in names} for known in FORMATS])
        return
    for known in FORMATS:
        sample = json.dumps(known.sample, ensure_ascii=False)
        result(f"{known.name}: {known.summary}\n  {sample}\n")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("formats", epilog=EPILOG)(formats)
