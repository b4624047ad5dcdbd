"""``danlu data name`` and ``unname``: names are given to versions, and taken away."""

from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.data.common import StorePath, open_store
from danlu.cli.output import note

NAME_EPILOG = """\b
Examples:
  danlu data name v9ddb clean
  danlu data name shop@2 shop          # back to the second

Every command that makes a version names it with --name; this names one that is there.
"""
UNNAME_EPILOG = """\b
Examples:
  danlu data unname trial
  danlu data unname trial --dry-run

The versions stay; 'danlu data gc' removes those that nothing else uses. What the name pointed to
before is forgotten, so a recipe that says version:NAME or version:NAME@2 no longer finds it.
"""


def name_version(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="As NAME, NAME@2, an id or how it begins.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it shall be called.")],
    store: StorePath = None,
) -> None:
    """Let a name point to a version that is there."""
    opened = open_store(store)
    found = opened.find(version)
    is_new = opened.name(found, name)
    note(f"{name} = {found.id}{'' if is_new else ', as before'}: {len(found):,} records")


def unname(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names to take away.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be forgotten, and do nothing.")
    ] = False,
    store: StorePath = None,
) -> None:
    """Take names away; the versions stay."""
    opened = open_store(store)
    found = {name: opened.history(name) for name in names}
    for name, history in found.items():
        if not dry_run:
            opened.unname(name)
        times = f", and {len(history) - 1:,} before it" if len(history) > 1 else ""
        verb = "would be forgotten" if dry_run else "is forgotten"
        note(f"{name} {verb}: it pointed to {history[-1].version}{times}")


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("name", epilog=NAME_EPILOG)(name_version)
    group.command("unname", epilog=UNNAME_EPILOG)(unname)
