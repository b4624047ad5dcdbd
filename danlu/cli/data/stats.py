"""``danlu data stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from danlu.cli.data.common import (
    AsJson,
    DataMany,
    StorePath,
    open_store,
    progress_bar,
    read_on,
)
from danlu.cli.output import result, result_json, table

if TYPE_CHECKING:
    from collections import Counter

    from danlu.workshop.statistics import TypeStatistics

EPILOG = """\b
Examples:
  danlu data stats mine
  danlu data stats raw/ --json

Lengths are in characters, at 5, 50 and 95 percent of the records; a prompt is all that stands
before the last answer.
"""
SHOWN = 8


def stats(data: DataMany, store: StorePath = None, as_json: AsJson = False) -> None:
    """Count records, turns, characters, lengths, tags and sources per task type."""
    from danlu.workshop.data import records_of
    from danlu.workshop.statistics import statistics, together

    with progress_bar() as progress:
        found = statistics(read_on(progress, records_of(open_store(store), data)))
    whole = together(found.values())
    if as_json:
        result_json(
            {
                "all": whole.as_dict(),
                "task_types": {name: one.as_dict() for name, one in found.items()},
            }
        )
        return
    columns = ["task type", "records", "share", "turns", "characters", "prompt length"]
    columns.append("answer length")
    named = [*found.items(), *([("all", whole)] if len(found) != 1 else [])]
    table(columns, [_row(name, one, whole.records) for name, one in named], right=columns[1:])
    for what, counts in (("tags", whole.tags), ("sources", whole.sources)):
        if counts:
            result(f"{what}: {_commonest(counts)}")


def _row(name: str, one: TypeStatistics, records: int) -> tuple[str, ...]:
    from danlu.workshop.statistics import quantiles

    lengths = []
    for values in (one.prompts, one.answers):
        found = quantiles(values)
        lengths.append(f"{found['p5']:,} {found['p50']:,} {found['p95']:,}" if found else "")
    share = f"{one.records / records:.1%}" if records else ""
    return (name, f"{one.records:,}", share, f"{one.turns:,}", f"{one.characters:,}", *lengths)


def _commonest(counts: Counter[str]) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(SHOWN))
    more = len(counts) - SHOWN
    return f"{told} and {more:,} more" if more > 0 else told


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("stats", epilog=EPILOG)(stats)
