"""``danlu data import``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.data.common import AsJson, Name, StorePath, open_store, progress_bar, tell_version
from danlu.cli.options import FormatName

EPILOG = """\b
Examples:
  danlu data import my.jsonl --name mine
  danlu data import raw/ --name faq --task-type support/faq --tag checked
  danlu data import 'raw/*.jsonl' --name all --taxonomy task-types.yaml --on-bad-record skip

The same files imported again are found again. A command that was killed leaves nothing half; start
it again and it begins anew.
"""


class Unknown(StrEnum):
    """What a task type that the taxonomy lacks does."""

    stop = "stop"
    keep = "keep"
    unlabelled = "unlabelled"


class OnBad(StrEnum):
    """What a row that is no record does."""

    stop = "stop"
    skip = "skip"


def import_data(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES...", help="Files, folders, globs or hub:OWNER/NAME."),
    ],
    name: Name = None,
    format: FormatName = "auto",
    task_type: Annotated[
        str | None, typer.Option(help="Task type (area/skill) of records that carry none.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag for every record; may be given again.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=COLUMN", help="Which column plays which part."),
    ] = None,
    taxonomy: Annotated[
        Path | None, typer.Option(help="YAML file of the task types that there are.")
    ] = None,
    unknown: Annotated[
        Unknown, typer.Option(help="What a task type that the taxonomy lacks does.")
    ] = Unknown.stop,
    on_bad_record: Annotated[
        OnBad, typer.Option(help="What a row that is no record does.")
    ] = OnBad.stop,
    split: Annotated[str, typer.Option(help="Split of a hub dataset.")] = "train",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read at most this many records of each of FILES.")
    ] = None,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Keep the records as Parquet in place of JSONL.")
    ] = False,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make the first version of a dataset, from files of any format."""
    from danlu.records import Source
    from danlu.workshop.operations.importing import Import, import_files
    from danlu.workshop.taxonomy import Taxonomy

    columns = _columns(column or ())
    sources = [Source(path, format, task_type, columns, split, limit) for path in files]
    operation = Import(
        tags=tuple(tag or ()),
        taxonomy=Taxonomy.load(taxonomy) if taxonomy else None,
        unknown=unknown.value,
        on_bad_record=on_bad_record.value,
    )
    with progress_bar() as progress:
        version = import_files(
            open_store(store),
            sources,
            operation,
            name=name,
            file_format="parquet" if parquet else "jsonl",
            progress=progress,
        )
    tell_version(version, name, as_json)


def _columns(pairs: list[str] | tuple[()]) -> dict[str, str]:
    """Read PART=COLUMN.

    Raises:
        BadParameter: If there is no ``=``.
    """
    for pair in pairs:
        if "=" not in pair:
            raise typer.BadParameter(f"{pair!r} is not PART=COLUMN, as in prompt=question")
    return dict(pair.split("=", 1) for pair in pairs)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("import", epilog=EPILOG)(import_data)
