"""What the commands of ``danlu data`` have in common: options, progress, and the closing table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.records import Record
    from danlu.workshop.execution.executor import Executor
    from danlu.workshop.store.decision import Operation, Progress
    from danlu.workshop.store.store import Store
    from danlu.workshop.store.version import Version

TOLD_RECORDS = 500

Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="A dataset's name, NAME@2 or id; or a file, folder, glob."),
]
DataMany = Annotated[
    list[str],
    typer.Argument(metavar="DATA...", help="Names or ids of datasets; or files, folders, globs."),
]
StorePath = Annotated[
    Path | None,
    typer.Option(
        "--store", help="Folder of datasets; else $DANLU_DATASETS, else ./datasets.", metavar="DIR"
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", "-n", help="Name that shall point to the result.")
]
IfAt = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION",
        help="Move --name only if it still points there ('': if nothing is called so).",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="Work on a Ray cluster; 'local' begins one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def named(option: str, given: Sequence[str]) -> dict[str, str]:
    """Read what is given as ``NAME=VALUE``, each name once.

    Example:
        >>> named("--to", ["open:own=1:3"])
        {'open:own': '1:3'}
    """
    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.rpartition("=")
        if not equals or not name or not value:
            raise typer.BadParameter(f"{option} is {one!r}; it must be NAME=VALUE")
        if name in found:
            raise typer.BadParameter(f"{option} is given twice for {name!r}")
        found[name] = value
    return found


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show the progress of the workshop on stderr while the block lasts, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage, done, total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def told(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield told


def read_on(progress: Progress, records: Iterable[Record]) -> Iterator[Record]:
    """Go through records, and tell how many there were."""
    for done, record in enumerate(records, 1):
        yield record
        if done % TOLD_RECORDS == 0:
            progress("reading: records", done, None)


def open_store(path: Path | None, ray: str | None = None) -> Store:
    """Open the store that the options name, whose operations are done where they say."""
    from danlu.workshop.store.store import Store

    return Store(path, executor_on(ray)) if ray else Store(path)


def executor_on(ray: str) -> Executor:
    """Return who works on a Ray cluster."""
    from danlu.workshop.execution.ray import OnRay

    return OnRay(ray)


def apply_and_tell(
    operation: Operation,
    data: str | Sequence[str],
    *,
    store: Path | None,
    name: str | None,
    as_json: bool,
    ray: str | None = None,
    if_at: str | None = None,
) -> Version:
    """Do an operation on data, and print what came of it.

    Data that are files become a version first; several become one.

    Raises:
        NameMovedError: If the name is to be moved only from ``if_at``, and points elsewhere.
    """
    from danlu.workshop.data import as_version

    opened = open_store(store, ray)
    with progress_bar() as progress:
        parent = as_version(opened, data, progress=progress)
        version = opened.apply(operation, parent, name=name, seen=if_at, progress=progress)
    tell_version(version, name, as_json)
    return version


def tell_version(version: Version, name: str | None, as_json: bool) -> None:
    """Print a version that a command has made: a table per task type, and its name and id."""
    manifest = version.manifest
    if as_json:
        result_json(version_json(version, name))
        return
    print_counts(version)
    reasons = [row for row in manifest.rules if row.rule]
    for row in reasons:
        note(f"{row.count:,} {row.fate}: {row.rule}")
    if manifest.rejected:
        note(f"{manifest.rejected:,} rows were no records: {version.rejected_path}")
    known = "" if version.is_new else ", which was there already"
    called = f"{name} = " if name else ""
    note(f"{called}{version.id}{known}: {manifest.records:,} records in {version.path}")


def version_json(version: Version, name: str | None) -> dict[str, Any]:
    """Return a version that a command has made as JSON has it."""
    told = {"id": version.id, "path": str(version.path), "name": name, "is_new": version.is_new}
    return told | version.manifest.model_dump(mode="json", exclude={"id"})


def print_counts(version: Version) -> None:
    """Print records, characters and fates of a version, a row per task type."""
    manifest = version.manifest
    fates = [fate for fate in ("kept", "dropped", "edited", "made") if fate in manifest.fates()]
    rows: list[tuple[str, ...]] = []
    for task_type, counts in manifest.task_types.items():
        told = [f"{counts.fates.get(fate, 0):,}" for fate in fates]
        rows.append((task_type, f"{counts.records:,}", f"{counts.characters:,}", *told))
    if len(rows) != 1:
        totals = [f"{manifest.fates()[fate]:,}" for fate in fates]
        rows.append(("all", f"{manifest.records:,}", f"{manifest.characters:,}", *totals))
    columns = ["task type", "records", "characters", *fates]
    table(columns, rows, right=columns[1:])
