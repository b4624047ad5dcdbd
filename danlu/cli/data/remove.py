"""``danlu data remove`` and ``gc``: versions that nothing uses go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.common import AsJson, StorePath, open_store
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.workshop.store.store import Store
    from danlu.workshop.store.version import Version

REMOVE_EPILOG = """\b
Examples:
  danlu data remove mine@1 --dry-run
  danlu data remove v3f9a1c20b7e4d586 v0b1c2d3e4f5a6978

A version stays while a name points to it ('danlu data unname' takes one away), another version was
made of it, or a run was trained on it.
"""
GC_EPILOG = """\b
Examples:
  danlu data gc --dry-run
  danlu data gc --keep 3 --runs runs --runs /data/runs

Of each name the last versions stay (--keep), and what runs were trained on, with all that these
were made of. Do not start it while another command makes a version in the same store.
"""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")]
Runs = Annotated[
    list[Path] | None,
    typer.Option("--runs", metavar="DIR", help="Folder of run directories; else ./runs."),
]


def remove(
    data: Annotated[
        list[str], typer.Argument(metavar="DATA...", help="Versions as NAME@2, by name or by id.")
    ],
    dry_run: DryRun = False,
    runs: Runs = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Remove versions that nothing uses."""
    from danlu.workshop.store.removing import must_be_free, uses

    opened = open_store(store)
    found = {version.id: version for version in map(opened.find, data)}
    must_be_free(list(found.values()), uses(opened, _folders(runs)))
    _remove(opened, list(found.values()), dry_run, as_json)


def gc(
    keep: Annotated[int, typer.Option(min=1, help="Versions of each name that stay.")] = 1,
    dry_run: DryRun = False,
    runs: Runs = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Remove all versions that no name, no version that stays and no run uses."""
    from danlu.workshop.store.removing import unused, uses

    opened = open_store(store)
    _remove(opened, unused(opened, uses(opened, _folders(runs)), keep), dry_run, as_json)


def _folders(runs: Sequence[Path] | None) -> list[Path]:
    """Return the folders of runs.

    Raises:
        BadParameter: If one that was named is not there.
    """
    for folder in runs or ():
        if not folder.is_dir():
            raise typer.BadParameter(f"--runs is {folder}; there is no such folder")
    return list(runs or [Path("runs")])


def _remove(store: Store, versions: Sequence[Version], dry_run: bool, as_json: bool) -> None:
    """Remove versions, and say what became free."""
    from danlu.workshop.store.removing import remove, size_bytes

    rows = [
        (one.id, one.manifest.operation.name, one.manifest.records, size_bytes(one))
        for one in versions
    ]
    freed = sum(size for *_, size in rows) if dry_run else remove(store, versions)
    if as_json:
        told = [dict(zip(("id", "by", "records", "bytes"), row, strict=True)) for row in rows]
        result_json({"dry_run": dry_run, "versions": told, "bytes": freed})
        return
    if rows:
        columns = ["id", "by", "records", "MB"]
        shown = [(id_, by, f"{count:,}", f"{size / 1e6:,.2f}") for id_, by, count, size in rows]
        table(columns, shown, right=columns[2:])
    verb = "would be removed" if dry_run else "removed"
    count = f"{len(rows):,} version{'' if len(rows) == 1 else 's'}"
    note(f"{count} {verb}: {freed / 1e6:,.2f} MB in {store.path}")


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("remove", epilog=REMOVE_EPILOG)(remove)
    group.command("gc", epilog=GC_EPILOG)(gc)
