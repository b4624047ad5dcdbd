"""``danlu data list``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from danlu.cli.data.common import AsJson, StorePath, open_store
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.workshop.store.version import Version

EPILOG = """\b
Examples:
  danlu data list
  danlu data list --store /data/datasets --json
"""


def list_names(store: StorePath = None, as_json: AsJson = False) -> None:
    """List the datasets by name: what each points to now."""
    opened = open_store(store)
    rows = [
        _row(name, len(history), opened.find(f"{name}@{len(history)}"))
        for name, history in opened.names.all().items()
    ]
    if as_json:
        result_json(rows)
    elif not rows:
        note(f"no dataset has a name in {opened.path}; 'danlu data log' lists versions without one")
    else:
        columns = ["name", "now at", "id", "by", "records", "task types", "characters"]
        table(
            columns,
            [
                (
                    row["name"],
                    f"{row['name']}@{row['number']}",
                    row["id"],
                    row["operation"],
                    f"{row['records']:,}",
                    row["task_types"],
                    f"{row['characters']:,}",
                )
                for row in rows
            ],
            right=columns[4:],
        )


def _row(name: str, number: int, version: Version) -> dict[str, Any]:
    manifest = version.manifest
    return {
        "name": name,
        "id": version.id,
        "number": number,
        "operation": manifest.operation.name,
        "records": manifest.records,
        "task_types": sum(1 for counts in manifest.task_types.values() if counts.records),
        "characters": manifest.characters,
        "created": manifest.created.isoformat(timespec="seconds"),
    }


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("list", epilog=EPILOG)(list_names)
