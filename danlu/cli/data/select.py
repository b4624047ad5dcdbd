"""``danlu data select``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.data.common import AsJson, Data, Name, Ray, StorePath, apply_and_tell, named

EPILOG = """\b
Examples:
  danlu data select mine --count 500 -n mine
  danlu data score mine --model runs/my-run -o scores.jsonl
  danlu data select mine --by difficulty --share 0.3 --scores scores.jsonl --most 1 -n mine

Each task type is ranked within itself, never against another. Scores are a JSONL of id and score,
as danlu data score writes it: for quality the perplexity of the answer (the lowest are kept), for
difficulty its loss with the prompt over its loss without it, ifd (the highest are kept).
"""


USUAL = {"quality": "perplexity", "difficulty": "ifd"}
"""Which score is meant."""


class ByName(StrEnum):
    """By what records are chosen."""

    diversity = "diversity"
    quality = "quality"
    difficulty = "difficulty"


class PreferName(StrEnum):
    """Which scores are kept."""

    lowest = "lowest"
    highest = "highest"
    middle = "middle"


class UnscoredName(StrEnum):
    """What becomes of a record without a score."""

    stop = "stop"
    keep = "keep"
    drop = "drop"


def select(
    data: Data,
    by: Annotated[ByName, typer.Option(help="What is chosen by.")] = ByName.diversity,
    count: Annotated[int | None, typer.Option(help="Records kept of each task type.")] = None,
    share: Annotated[float | None, typer.Option(help="Share kept of each task type.")] = None,
    counts: Annotated[
        list[str] | None,
        typer.Option("--of", help="Another count of a task type or area.", metavar="TYPE=COUNT"),
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="JSONL of id and score.")] = None,
    score: Annotated[
        str | None,
        typer.Option(help="Its name in the JSONL; else perplexity or ifd, or 'score'."),
    ] = None,
    unscored: Annotated[
        UnscoredName, typer.Option(help="What becomes of records without a score.")
    ] = UnscoredName.stop,
    prefer: Annotated[PreferName | None, typer.Option(help="Which scores are kept.")] = None,
    least: Annotated[float | None, typer.Option(help="Lowest score that may be kept.")] = None,
    most: Annotated[float | None, typer.Option(help="Highest score that may be kept.")] = None,
    seed: Annotated[int, typer.Option(help="Decides between equals.")] = 0,
    ray: Ray = None,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Keep the most diverse, the best or the hardest records of each task type."""
    from danlu.workshop.operations.given import Scores
    from danlu.workshop.operations.select import Select

    given = named("--of", counts or ())
    if wrong := [count for count in given.values() if not count.isdecimal()]:
        raise typer.BadParameter(f"--of is {wrong[0]!r}; it must be a whole number")
    operation = Select(
        by.value,
        count,
        share,
        {task_type: int(number) for task_type, number in given.items()},
        Scores.load(scores, score or USUAL.get(by.value, "score")) if scores else Scores(),
        prefer.value if prefer else None,
        least,
        most,
        seed,
        unscored.value,
    )
    apply_and_tell(operation, data, store=store, name=name, as_json=as_json, ray=ray)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("select", epilog=EPILOG)(select)
