"""``danlu data split``."""

from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.data.common import AsJson, Data, Name, Ray, StorePath, open_store, progress_bar
from danlu.cli.output import note, result_json, table

EPILOG = """\b
Examples:
  danlu data split mine --name mine
  danlu data split mine --share 0.1 --seed 3 --name mine

Makes the datasets NAME-train and NAME-eval. Records of one prompt, of nearly the same one (--near),
or of one conversation (by id in meta, or where one goes on from another), stay on one side.
"""


def split(
    data: Data,
    share: Annotated[
        float, typer.Option(help="Of each task type, in records, that is held out.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Another seed holds other records out.")] = 0,
    near: Annotated[
        float,
        typer.Option(help="Prompts as alike as this stay together; 1: equal ones only."),
    ] = 0.9,
    ray: Ray = None,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Hold records out for evaluation, stratified by task type, with no prompt on both sides."""
    from danlu.workshop.data import as_version
    from danlu.workshop.operations.split import split as split_version

    if not 0 < share < 1:
        raise typer.BadParameter(f"--share is {share:g}; it must be above 0 and below 1")
    opened = open_store(store, ray)
    with progress_bar() as progress:
        version = as_version(opened, data, progress=progress)
        made = split_version(
            opened, version, share=share, seed=seed, near=near, name=name, progress=progress
        )
    parts = made._asdict()
    if as_json:
        result_json({part: one.manifest.model_dump(mode="json") for part, one in parts.items()})
        return
    columns = ["task type", "records", "train", "eval", "eval share"]
    rows, few = [], []
    for task_type, counts in version.manifest.task_types.items():
        out = made.eval.manifest.task_types[task_type].records
        share_text = f"{out / counts.records:.1%}" if counts.records else ""
        rows.append(
            (task_type, f"{counts.records:,}", f"{counts.records - out:,}", f"{out:,}", share_text)
        )
        if counts.records > 1 and out < share * counts.records / 2:
            few.append(task_type)
    table(columns, rows, right=columns[1:])
    if few:
        note(
            f"less than half of the share was held out of {', '.join(few)}: the prompts are too "
            "much alike to be torn apart; --near 1 keeps only equal ones together"
        )
    for part, one in parts.items():
        called = f"{name}-{part} = " if name else f"{part}: "
        note(f"{called}{one.id}: {len(one):,} records in {one.path}")


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("split", epilog=EPILOG)(split)
