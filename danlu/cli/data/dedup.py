"""``danlu data dedup``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.data.common import (
    AsJson,
    Data,
    Name,
    Ray,
    StorePath,
    open_store,
    progress_bar,
    tell_version,
)

EPILOG = """\b
Examples:
  danlu data dedup mine -n mine
  danlu data dedup mine --on answer --keep longest -n mine
  danlu data ledger mine --rule 'near duplicate'

Texts are compared by their character shingles (2, 3 or 5 long, as the text is), apart from width,
case and traditional characters; below 5 characters only equal ones are duplicates. In task types
whose answers are labels only prompts of the same label are compared.
"""


class OnName(StrEnum):
    """What is compared."""

    prompt = "prompt"
    answer = "answer"
    both = "both"


class KeepName(StrEnum):
    """Which one of several duplicates stays."""

    first = "first"
    longest = "longest"
    best = "best"


def dedup(
    data: Data,
    on: Annotated[OnName, typer.Option(help="What must be alike.")] = OnName.both,
    near: Annotated[float, typer.Option(help="Least Jaccard similarity, 0 to 1.")] = 0.8,
    exact: Annotated[bool, typer.Option("--exact", help="Drop exact duplicates only.")] = False,
    keep: Annotated[KeepName, typer.Option(help="Which one stays.")] = KeepName.first,
    across: Annotated[bool, typer.Option("--across", help="Across task types too.")] = False,
    closed: Annotated[
        list[str] | None,
        typer.Option(help="A task type whose answers are labels, beside those of the taxonomy."),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="JSONL of id and score, for --keep best.")
    ] = None,
    ray: Ray = None,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Drop records that are the same as another one, or nearly."""
    from danlu.workshop.data import as_version
    from danlu.workshop.operations.dedup import Dedup
    from danlu.workshop.operations.given import Scores

    opened = open_store(store, ray)
    with progress_bar() as progress:
        parent = as_version(opened, data, progress=progress)
        known = parent.taxonomy.closed() if parent.taxonomy else frozenset()
        operation = Dedup(
            on.value,
            None if exact else near,
            keep.value,
            across,
            tuple(sorted(known | set(closed or ()))),
            Scores.load(scores) if scores else Scores(),
        )
        version = opened.apply(operation, parent, name=name, progress=progress)
    tell_version(version, name, as_json)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("dedup", epilog=EPILOG)(dedup)
