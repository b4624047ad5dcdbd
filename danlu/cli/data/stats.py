"""``danlu data stats``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

    from danlu.sequences import ChatTemplate
    from danlu.workshop.statistics import TypeStatistics
    from danlu.workshop.token_counts import TypeTokens

EPILOG = """\b
Examples:
  danlu data stats mine
  danlu data stats raw/ --json
  danlu data stats mine --model runs/quickstart

With --model, tokens are counted too, and each task type's part of the loss: as a run would train
them, if it is a run, else by the recipe's defaults. Lengths are in characters, at 5, 50 and 95
percent of the records; a prompt is all that stands before the last answer.
"""
SHOWN = 8


def stats(
    data: DataMany,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Count tokens as this run or model has them."),
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Count records, turns, characters, lengths, tags and sources per task type."""
    from danlu.workshop.data import records_of
    from danlu.workshop.statistics import statistics, together

    with progress_bar() as progress:
        found = statistics(read_on(progress, records_of(open_store(store), data)))
    whole = together(found.values())
    counts = _token_counts(model, data, store) if model else {}
    if as_json:
        result_json(
            {
                "all": whole.as_dict(),
                "task_types": {name: one.as_dict() for name, one in found.items()},
            }
            | ({"tokens": {name: one.as_dict() for name, one in counts.items()}} if model else {})
        )
        return
    columns = ["task type", "records", "share", "turns", "characters", "prompt length"]
    columns.append("answer length")
    named = [*found.items(), *([("all", whole)] if len(found) != 1 else [])]
    table(columns, [_row(name, one, whole.records) for name, one in named], right=columns[1:])
    for what, tallies in (("tags", whole.tags), ("sources", whole.sources)):
        if tallies:
            result(f"{what}: {_commonest(tallies)}")
    if counts:
        _print_tokens(counts)


def _token_counts(model: str, data: list[str], store: Path | None) -> dict[str, TypeTokens]:
    """Count with the tokenizer, template and settings of a run, or of a model."""
    from danlu.config.recipe import SequencesSection
    from danlu.models.load import load_tokenizer
    from danlu.models.source import resolve
    from danlu.sequences import ChatTemplate
    from danlu.workshop.data import records_of
    from danlu.workshop.token_counts import token_counts

    template: ChatTemplate | None
    source = resolve(model)
    if source.kind == "run" and source.path is not None:
        from danlu.diagnosis.subject import Subject

        subject = Subject.open(source.path)
        tokenizer, template = subject.tokenizer, subject.template
        settings = subject.recipe.sequences
    else:
        tokenizer = load_tokenizer(model)
        template = ChatTemplate.load(tokenizer) if tokenizer.chat_template else None
        settings = SequencesSection()
    with progress_bar() as progress:
        records = read_on(progress, records_of(open_store(store), data))
        return token_counts(records, tokenizer, template, settings)


def _print_tokens(counts: dict[str, TypeTokens]) -> None:
    columns = ["task type", "records", "left out", "tokens", "trained", "of the loss"]
    loss = sum(one.loss for one in counts.values())
    rows = [
        (
            name,
            *(f"{n:,}" for n in (one.records, one.left_out, one.tokens, one.trained)),
            f"{one.loss / loss:.1%}" if loss else "",
        )
        for name, one in counts.items()
    ]
    table(columns, rows, right=columns[1:])


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
