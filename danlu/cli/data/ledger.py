"""``danlu data ledger``."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from danlu.cli.data.common import StorePath, open_store
from danlu.cli.output import note, result_json, table

EPILOG = """\b
Examples:
  danlu data ledger mine --fate dropped
  danlu data ledger mine --rule 'near duplicate' --limit 5
  danlu data ledger mine --id 4f1d --json

With --json, each line is a row. A rule such as language stands for language.stray_script too.
"""
COLUMNS = ("id", "task_type", "fate", "rule", "value", "limit", "partner", "detail")


class FateName(StrEnum):
    """What became of a record."""

    kept = "kept"
    dropped = "dropped"
    edited = "edited"
    made = "made"


def ledger(
    data: Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name, NAME@2 or id.")],
    fate: Annotated[FateName | None, typer.Option(help="Only records of this fate.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only rows by this rule.")] = None,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only this record; may be given again.")
    ] = None,
    task_type: Annotated[
        str | None, typer.Option("--task-type", "-t", help="Only this task type.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many rows.")] = 50,
    store: StorePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, all.")] = False,
) -> None:
    """Show what became of the records of a version, by which rule, value and limit."""
    version = open_store(store).find(data)
    rows = (
        entry
        for entry in version.ledger()
        if fate in (None, entry.fate)
        and (rule is None or entry.rule == rule or entry.rule.startswith(f"{rule}."))
        and (not ids or entry.id in ids or entry.partner in ids)
        and task_type in (None, entry.task_type)
    )
    if as_json:
        for entry in rows:
            result_json(asdict(entry))
        return
    shown = list(islice(rows, limit))
    if not shown:
        note("no row is so")
        return
    columns = [name for name in COLUMNS if any(getattr(entry, name) for entry in shown)]
    table(columns, [[_cell(getattr(entry, name)) for name in columns] for entry in shown])
    if next(rows, None) is not None:
        note(f"there are more; the first {limit:,} are shown (--limit)")


def _cell(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("ledger", epilog=EPILOG)(ledger)
