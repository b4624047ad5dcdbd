"""``danlu data diff``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.common import AsJson, StorePath, open_store, progress_bar
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.workshop.operations.diff import Diff, Measure, Side

EPILOG = """\b
Examples:
  danlu data diff mine@1 mine
  danlu data diff mine@1 mine --model builtin:smollm2-135m-instruct --weighting record
  danlu data diff old/ new/ --json

Shares are of the records, of the text, and of the loss: what a run would learn from each task type
under that weighting. Records are the same if their id is.
"""


class WeightingName(StrEnum):
    """What counts equally in the loss."""

    token = "token"
    record = "record"
    turn = "turn"
    task_type = "task_type"


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A dataset or files, as before.")],
    after: Annotated[str, typer.Argument(metavar="B", help="A dataset or files, as after.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Measure in tokens of its tokenizer, not characters."),
    ] = None,
    weighting: Annotated[
        WeightingName, typer.Option(help="As sequences.weighting of the recipe.")
    ] = WeightingName.token,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Compare two datasets: records added, removed, changed, and shares of text and loss."""
    from danlu.workshop.data import records_of
    from danlu.workshop.operations.diff import diff as compare

    opened = open_store(store)
    measure = _measure(model)
    with progress_bar() as progress:
        found = compare(
            records_of(opened, before),
            records_of(opened, after),
            measure=measure,
            weighting=weighting.value,
            progress=progress,
        )
    if as_json:
        result_json(found.as_dict() | {"unit": "tokens" if model else "characters"})
    else:
        _print(found, "tokens" if model else "characters")


def _measure(model: str | None) -> Measure:
    if model is None:
        from danlu.workshop.operations.diff import in_characters

        return in_characters
    from danlu.models.load import load_tokenizer

    tokenizer = load_tokenizer(model)
    return lambda texts: [
        len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    ]


def _print(found: Diff, unit: str) -> None:
    columns = ["task type", "records", "added", "removed", "changed", "retyped"]
    columns += ["of records", f"of {unit}", "of loss"]
    rows = []
    for name, one in found.task_types.items():
        counts = [one.added, one.removed, one.changed, one.retyped]
        rows.append(
            (
                name,
                f"{one.before.records:,} → {one.after.records:,}",
                *(f"{count:,}" if count else "" for count in counts),
                *_shares(one.before, one.after, found),
            )
        )
    table(columns, rows, right=columns[1:])
    before, after = found.before, found.after
    told = f"{before.records:,} → {after.records:,} records"
    note(f"{told}, {before.length:,} → {after.length:,} {unit}")


def _shares(before: Side, after: Side, found: Diff) -> list[str]:
    from danlu.workshop.operations.diff import shares

    pairs = zip(
        shares(before, found.before).values(), shares(after, found.after).values(), strict=True
    )
    return [f"{100 * one:.1f} → {100 * other:.1f} %" for one, other in pairs]


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("diff", epilog=EPILOG)(diff)
