"""``danlu explain``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.options import FormatName, OwnTemplate
from danlu.cli.output import note, result_json
from danlu.cli.passed_over import note_passed_over

if TYPE_CHECKING:
    from danlu.config import Recipe
    from danlu.records import Record

EPILOG = """\b
Examples:
  danlu explain my.jsonl --model builtin:smollm2-135m-instruct --limit 3
  danlu explain my.jsonl --model ./qwen3-tokenizer --json > branches.jsonl
  danlu explain my.jsonl --model ./base --template chatml sequences.turns=last

With --json, each line has: record, branch, task_type, input_ids (from the root), weights (as long;
with which each token is predicted, 0 for not trained), prompt_text, completion_text, prompt_tokens,
and shared (as long; whether another branch of the record has the token too). Answers to be compared
also have rank, score and label.
"""
DROPS_SHOWN = 20


def explain(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A file, folder, glob, hub:OWNER/NAME or version:NAME."
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Recipe settings to explain under."),
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="Whose tokenizer and template; weights are not needed."),
    ] = "builtin:smollm2-135m-instruct",
    template: OwnTemplate = None,
    format: FormatName = "auto",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read at most this many records.")
    ] = None,
    record: Annotated[str | None, typer.Option(help="Only the record with this id.")] = None,
    task_type: Annotated[str | None, typer.Option(help="Only records of this task type.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line for each branch.")
    ] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="Mark trained tokens with ⟦ ⟧ in place of colour.")
    ] = False,
) -> None:
    """Show records as the model will see them, token by token."""
    from danlu.config import make_recipe

    source = {"path": data, "format": format, "limit": limit}
    recipe = make_recipe(
        {
            "name": "explain",
            "model": {"path": model, "template": template},
            "data": {"train": [source]},
        },
        settings or (),
        name="command line",
    )
    records = _chosen(recipe, record, task_type)
    _show(recipe, records, as_json, no_color)


def _chosen(recipe: Recipe, record_id: str | None, task_type: str | None) -> list[Record]:
    """Read the records asked for.

    Raises:
        RecordError: If there is none, with the nearest id or task type.
    """
    from danlu.errors import RecordError, did_you_mean
    from danlu.records import read_records
    from danlu.workshop.data import recipe_sources

    sources, _ = recipe_sources(recipe.data.train)
    ids, task_types, chosen = set(), set(), []
    reading = read_records(sources, on_bad_record=recipe.data.on_bad_record)
    for record in reading:
        ids.add(record.id)
        task_types.add(record.task_type)
        if record_id in (None, record.id) and task_type in (None, record.task_type):
            chosen.append(record)
    note_passed_over(reading.passed_over)
    if reading.rejected_count:
        note(f"{reading.rejected_count:,} rows are no records and were passed over")
    where = sources[0].path
    if record_id is not None and record_id not in ids:
        near = did_you_mean(record_id, ids) if len(ids) < 10_000 else ""
        raise RecordError(f"no record has the id {record_id!r}.{near[:200]}", where=where)
    if task_type is not None and task_type not in task_types:
        raise RecordError(
            f"no record is of the task type {task_type!r}.{did_you_mean(task_type, task_types)}",
            where=where,
        )
    return chosen


def _show(recipe: Recipe, records: Sequence[Record], as_json: bool, no_color: bool) -> None:
    from rich.console import Console

    from danlu.models.load import load_tokenizer
    from danlu.models.tokens import add_tokens
    from danlu.sequences import (
        ChatTemplate,
        answers_of,
        explain_rows,
        render_terminal,
    )
    from danlu.sequences.prepare import prepare

    model = recipe.model
    tokenizer = load_tokenizer(
        model.tokenizer or model.path, trust_remote_code=model.trust_remote_code
    )
    add_tokens(tokenizer, model.new_tokens)
    template = ChatTemplate.load(tokenizer, model.template, model.template_options)
    settings = recipe.sequences
    answers = None if settings.documents else answers_of(records)
    prepared = prepare(
        records, tokenizer, template, settings, documents=settings.documents, answers=answers
    )
    rows = explain_rows(prepared, records, tokenizer, template, settings, answers)
    for line in prepared.notes:
        note(line)
    if as_json:
        for row in rows:
            result_json(row)
    else:
        render_terminal(rows, tokenizer, Console(highlight=False, no_color=no_color or None))
    for task_type, reasons in prepared.drop_counts().items():
        note(f"{task_type}: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
    for drop in prepared.drops[:DROPS_SHOWN]:
        branch = "" if drop.branch is None else f", branch {drop.branch}"
        note(f"  {drop.record_id}{branch}: {drop.reason}: {drop.detail}")
    if (more := len(prepared.drops) - DROPS_SHOWN) > 0:
        note(f"  and {more:,} more")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", epilog=EPILOG)(explain)
