"""``danlu formats``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from danlu.cli.output import result, result_json

EPILOG = """\b
Examples:
  danlu formats
  danlu formats --json

A format is recognised by its content; name it in the recipe where that fails: data.train[0].format.
"""


def formats(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array.")] = False,
) -> None:
    """List the data formats, each with a sample row."""
    from danlu.records import FORMATS

    if as_json:
        result_json([{"name": f.name, "summary": f.summary, "sample": f.sample} for f in FORMATS])
        return
    for known in FORMATS:
        sample = known.sample
        text = sample if isinstance(sample, str) else json.dumps(sample, ensure_ascii=False)
        result(f"{known.name}: {known.summary}\n  {text}\n")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("formats", epilog=EPILOG)(formats)
