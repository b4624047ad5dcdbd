"""``danlu data …``: one module per command, joined to one group here.

A command parses its arguments, calls the workshop and prints; what several commands print alike is
in ``common``.
"""

from __future__ import annotations

import typer

from danlu.cli.data import (
    check,
    dedup,
    diff,
    edits,
    export,
    import_,
    label,
    ledger,
    list_,
    log,
    make,
    make_abilities,
    make_bulk_label,
    make_documents,
    make_parts,
    make_variants,
    mix,
    name,
    novelty,
    remove,
    score,
    select,
    show,
    split,
    sql,
    stats,
)

group = typer.Typer(
    name="data",
    help="Make, check, mix and version training data by task type.",
    rich_markup_mode=None,
)
for _module in (
    import_,
    list_,
    log,
    show,
    stats,
    sql,
    ledger,
    diff,
    label,
    check,
    dedup,
    novelty,
    score,
    select,
    mix,
    split,
    edits,
    export,
    make,
    make_bulk_label,
    make_documents,
    make_parts,
    make_abilities,
    make_variants,
    name,
    remove,
):
    _module.register(group)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="data")
