"""``danlu data show``."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.choosing import Ids, MaxLength, MinLength, Tags, TaskTypes, Text, choice_of
from danlu.cli.data.common import DataMany, StorePath, open_store, progress_bar, read_on
from danlu.cli.output import note, result_json

if TYPE_CHECKING:
    from danlu.records import Record

EPILOG = """\b
Examples:
  danlu data show mine --limit 3
  danlu data show mine --task-type 'math/*' --sample 5 --seed 1
  danlu data show raw/faq.csv --text 发票 --json

With --json, each line is a record in Danlu's own format.
"""


def show(
    data: DataMany,
    ids: Ids = None,
    task_type: TaskTypes = None,
    tag: Tags = None,
    text: Text = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Draw so many at random, in their order.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 10,
    whole: Annotated[bool, typer.Option("--whole", help="Do not shorten long messages.")] = False,
    store: StorePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show records, chosen by task type, tag, text or length."""
    from danlu.workshop.data import records_of
    from danlu.workshop.operations.choice import drawn

    choice = choice_of(ids, task_type, tag, text, min_length, max_length)
    with progress_bar() as progress:
        records = read_on(progress, records_of(open_store(store), data))
        fitting = (one for one in records if choice.fits(one))
        chosen = drawn(fitting, sample, seed) if sample else list(islice(fitting, limit))
        is_more = not sample and next(fitting, None) is not None
    for record in chosen:
        _print(record, whole, as_json)
    if not chosen:
        note("no record is so")
    elif is_more:
        note(f"there are more; the first {limit:,} are shown (--limit)")


def _print(record: Record, whole: bool, as_json: bool) -> None:
    if as_json:
        from danlu.records import to_row

        result_json(to_row(record))
        return
    from danlu.workshop.display import display

    display(record, whole=whole)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("show", epilog=EPILOG)(show)
