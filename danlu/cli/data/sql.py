"""``danlu data sql``."""

from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.data.common import Data, StorePath, open_store, progress_bar
from danlu.cli.output import note, result_json, table

EPILOG = """\b
Examples:
  danlu data sql mine 'SELECT task_type, count(*), avg(length(answer)) FROM records GROUP BY ALL'
  danlu data sql mine "SELECT rule, count(*) FROM ledger WHERE fate = 'dropped' GROUP BY ALL"
  danlu data sql mine "SELECT id, prompt FROM records WHERE prompt LIKE '%发票%'" --json

Table records: id, task_type, messages, tools, responses, tags, source, meta (nested ones as JSON),
turns, prompt (the user's last), answer. Table ledger: id, task_type, fate, rule, value, number (the
value, where it is one), "limit", partner, detail.
"""


def sql(
    data: Data,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One query, in DuckDB's SQL.")],
    limit: Annotated[int, typer.Option(min=1, help="Print at most so many rows.")] = 100,
    store: StorePath = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, all rows.")
    ] = False,
) -> None:
    """Ask a dataset and its ledger by SQL."""
    from danlu.workshop.data import as_version
    from danlu.workshop.sql import as_objects
    from danlu.workshop.sql import query as ask

    with progress_bar() as progress:
        version = as_version(open_store(store), data, progress=progress)
    answer = ask(version, query)
    if as_json:
        for row in as_objects(answer):
            result_json(row)
        return
    numbers = [
        name
        for place, name in enumerate(answer.columns)
        if any(isinstance(row[place], int | float) for row in answer.rows)
    ]
    rows = [[_cell(value) for value in row] for row in answer.rows[:limit]]
    table(answer.columns, rows, right=numbers)
    if len(answer.rows) > limit:
        note(f"{len(answer.rows):,} rows; the first {limit:,} are shown (--limit)")


def _cell(value: object) -> object:
    return f"{value:,.4g}" if isinstance(value, float) else value


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("sql", epilog=EPILOG)(sql)
