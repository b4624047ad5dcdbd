"""``danlu data mix``."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.data.common import (
    AsJson,
    DataMany,
    Name,
    Ray,
    StorePath,
    named,
    open_store,
    progress_bar,
    tell_version,
    version_json,
)
from danlu.cli.output import note, result_json, table

EPILOG = """\b
Examples:
  danlu data mix mine --by area --to general=0.25 -n mine
  danlu data mix open.jsonl own.jsonl --by source --to open:own=1:3 --repeats 3 -n both
  danlu data mix mine --to review/sentiment=2000 --repeats 4 -n mine

A target is a count (500), a share of the mix (0.25 or 25%), or for several names a ratio (1:3).
With counts and ratios what is not named stays as it is; with shares it fills the rest.
"""


class ByName(StrEnum):
    """What the names of targets are of."""

    task_type = "task_type"
    area = "area"
    source = "source"


class UnitName(StrEnum):
    """What is counted."""

    records = "records"
    characters = "characters"
    tokens = "tokens"


def mix(
    data: DataMany,
    to: Annotated[
        list[str], typer.Option(help="What is wanted; given again for more.", metavar="NAME=TARGET")
    ],
    by: Annotated[ByName, typer.Option(help="What the names are of.")] = ByName.task_type,
    unit: Annotated[
        UnitName, typer.Option(help="What is counted; characters are those of answers.")
    ] = UnitName.records,
    tokens: Annotated[
        Path | None,
        typer.Option(help="JSONL of id and trained tokens, as danlu data score writes it."),
    ] = None,
    total: Annotated[float | None, typer.Option(help="Size of a mix of shares.")] = None,
    repeats: Annotated[float, typer.Option(help="How often a record may be taken.")] = 1.0,
    cap: Annotated[float | None, typer.Option(help="Largest amount of a group.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another draw.")] = 0,
    ray: Ray = None,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Take some records less often and some more often, to reach counts, shares or ratios."""
    from danlu.workshop.data import as_version
    from danlu.workshop.operations.given import Scores
    from danlu.workshop.operations.mix import Mix

    given = Scores.load(tokens, "tokens") if tokens else Scores()
    operation = Mix(named("--to", to), by.value, unit.value, given, total, repeats, cap, seed)
    opened = open_store(store, ray)
    operation = replace(operation, executor=opened.executor)
    with progress_bar() as progress:
        parent = as_version(opened, data, progress=progress)
        version = opened.apply(operation, parent, name=name, progress=progress)
        rows = operation.outcome(parent.records())
    if as_json:
        groups = [row._asdict() for row in rows]
        result_json(version_json(version, name) | {"mix": {"by": by.value, "groups": groups}})
        return
    tell_version(version, name, as_json)
    columns = [by.value.replace("_", " "), "asked", "achieved", "share", "records", "repeats"]
    figures = [
        (
            row.name,
            f"{row.asked:,.0f}",
            f"{row.achieved:,.0f}",
            f"{row.share:.1%}",
            f"{row.records:,}",
            f"{row.repeats:.2f}",
        )
        for row in rows
    ]
    table(columns, figures, right=columns[1:])
    for row in rows:
        if row.bound:
            note(f"{row.name}: less than asked, bound by {row.bound}")


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("mix", epilog=EPILOG)(mix)
