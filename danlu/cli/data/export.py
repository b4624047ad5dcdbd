"""``danlu data export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.common import AsJson, Data, StorePath, open_store, progress_bar
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.workshop.operations.export import Exported

EPILOG = """\b
Examples:
  danlu data export mine --format openai -o mine.jsonl
  danlu data export mine --format alpaca -o mine.json --on-unfit drop
  danlu data export mine-train --eval mine-eval --format hub -o mine-hub

A record that a format cannot hold (tools in Alpaca, say) is an error; with --on-unfit drop it is
left out, counted, and named in a file beside the export.
"""


class FormatName(StrEnum):
    """What an export can be written as."""

    danlu = "danlu"
    alpaca = "alpaca"
    sharegpt = "sharegpt"
    openai = "openai"
    hub = "hub"


class OnUnfitName(StrEnum):
    """What a record that does not fit does."""

    stop = "stop"
    drop = "drop"


def export(
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .jsonl or .json file; for hub, a folder.")
    ],
    format: Annotated[FormatName, typer.Option(help="The layout of the rows.")] = FormatName.danlu,
    on_unfit: Annotated[
        OnUnfitName, typer.Option(help="What a record that the format cannot hold does.")
    ] = OnUnfitName.stop,
    evaluation: Annotated[
        str | None, typer.Option("--eval", metavar="DATA", help="For hub: the split eval.")
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="For hub: JSONL files in place of Parquet.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there already.")
    ] = False,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Write a dataset as files for other programs."""
    from danlu.workshop.data import as_version
    from danlu.workshop.operations.export import export as write
    from danlu.workshop.operations.export import export_hub

    is_hub = format is FormatName.hub
    if not is_hub and (evaluation is not None or jsonl):
        raise typer.BadParameter("--eval and --jsonl are for --format hub")
    opened = open_store(store)
    with progress_bar() as progress:
        version = as_version(opened, data, progress=progress)
        if is_hub:
            splits = {"train": version}
            if evaluation is not None:
                splits["eval"] = as_version(opened, evaluation, progress=progress)
            done = export_hub(splits, output, parquet=not jsonl, overwrite=overwrite)
        else:
            done = write(
                version, output, format.value, on_unfit=on_unfit.value, overwrite=overwrite
            )
    _tell(done, as_json)


def _tell(done: Exported, as_json: bool) -> None:
    total = done.records.total()
    if as_json:
        result_json(
            {
                "path": str(done.path),
                "records": total,
                "task_types": dict(sorted(done.records.items())),
                "unfit": dict(done.unfit),
                "leaves_out": done.leaves_out,
            }
        )
        return
    rows = [(name, f"{count:,}") for name, count in sorted(done.records.items())]
    if len(rows) != 1:
        rows.append(("all", f"{total:,}"))
    table(["task type", "records"], rows, right=["records"])
    for reason, count in done.unfit.most_common():
        note(f"{count:,} left out: {reason} ({done.path}.unfit.jsonl names them)")
    if done.leaves_out:
        note(f"no row has: {', '.join(done.leaves_out)}")
    note(f"{total:,} records written to {done.path}")


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("export", epilog=EPILOG)(export)
