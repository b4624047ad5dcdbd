"""``danlu data log``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.common import AsJson, StorePath, open_store
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.workshop.store.store import Store
    from danlu.workshop.store.version import Version

EPILOG = """\b
Examples:
  danlu data log
  danlu data log mine
  danlu data log mine@2 --json
"""


def log(
    data: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A dataset's name, NAME@2 or id.")
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Show how a dataset came to be, newest first; without a name, every version."""
    opened = open_store(store)
    versions = opened.versions()[::-1] if data is None else _line(opened, opened.find(data))
    names: dict[str, list[str]] = {}
    for name, history in opened.names.all().items():
        names.setdefault(history[-1].version, []).append(name)
    rows = [_row(version, names.get(version.id, [])) for version in versions]
    if as_json:
        result_json(rows)
    elif not rows:
        note(f"no version is in {opened.path}")
    else:
        columns = ["id", "names", "by", "records", "from", "settings"]
        table(
            columns,
            [
                (
                    row["id"],
                    ", ".join(row["names"]),
                    row["operation"],
                    f"{row['records']:,}",
                    ", ".join(row["parents"] or row["files"][:3])
                    + (" ..." if len(row["files"]) > 3 else ""),
                    _short(row["settings"]),
                )
                for row in rows
            ],
            right=["records"],
        )


def _line(store: Store, version: Version) -> list[Version]:
    """Return a version and all that it was made of, each once and before what it was made of."""
    found: dict[str, Version] = {}
    waiting = [version]
    while waiting:
        one = waiting.pop(0)
        if one.id not in found:
            found[one.id] = one
            waiting += [store.find(parent.id) for parent in one.manifest.parents]
    return list(found.values())


def _row(version: Version, names: list[str]) -> dict[str, Any]:
    manifest = version.manifest
    return {
        "id": version.id,
        "names": names,
        "operation": manifest.operation.name,
        "settings": manifest.operation.settings,
        "records": manifest.records,
        "fates": manifest.fates(),
        "parents": [parent.id for parent in manifest.parents],
        "files": [file.name for file in manifest.files],
        "created": manifest.created.isoformat(timespec="seconds"),
        "danlu": manifest.danlu,
    }


def _told(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing, at any depth."""
    told = {
        name: _told(value) if isinstance(value, dict) else value for name, value in settings.items()
    }
    return {name: value for name, value in told.items() if value not in (None, [], {}, "")}


def _short(settings: dict[str, Any]) -> str:
    told = _told({name: value for name, value in settings.items() if name != "taxonomy"})
    text = ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in told.items()
    )
    return text if len(text) <= 80 else f"{text[:79]}…"


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("log", epilog=EPILOG)(log)
