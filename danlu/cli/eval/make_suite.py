"""``danlu eval make-suite``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.data.common import StorePath, open_store
from danlu.cli.eval.common import AsJson
from danlu.cli.output import note, result_json, table

EPILOG = """\b
Examples:
  danlu eval make-suite mine-eval --out suites/mine
  danlu eval make-suite held-out.jsonl --out suites/mine --limit 200

The data are the part that `danlu data split` holds out, or a file. Each record asks what comes
before its last answer, which is the reference. The scorer of a task type is proposed from its
answers and written to suite.yaml, where you can change it: constraints where records have
expectations, classification for few short labels, numeric, json_equal, exact for short answers,
else rouge.
"""


def make_suite(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A dataset's name or id; or a file, folder, glob.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder that is made, with suite.yaml and items.jsonl.")
    ],
    name: Annotated[str | None, typer.Option("--name", "-n", help="Of the suite.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many items of each task type.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw, with --limit.")] = 0,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make a suite of held-out records."""
    from danlu.evaluation.suites.making import make_suite as make
    from danlu.evaluation.suites.making import write_suite
    from danlu.workshop.data import named_version, records_of

    opened = open_store(store)
    version = named_version(opened, data)
    made = make(
        records_of(opened, data),
        name=name or out.name,
        taxonomy=version.taxonomy if version else None,
        limit=limit,
        seed=seed,
    )
    path = write_suite(made.suite, out)
    if as_json:
        result_json(
            {"path": str(path), "name": made.suite.name, "left_out": made.left_out, "cut": made.cut}
            | {
                "task_types": {
                    n: s.model_dump(mode="json") for n, s in made.suite.task_types.items()
                }
            }
        )
        return
    counts = dict.fromkeys(made.suite.task_types, 0)
    for item in made.suite.items:
        counts[item.task_type] += 1
    columns = ("task type", "items", "scorer", "why")
    rows = [(n, counts[n], s.scorer, made.why[n]) for n, s in made.suite.task_types.items()]
    table(columns, rows, right=("items",))
    for reason, count in made.left_out.items():
        note(f"{count:,} left out: {reason}")
    if made.cut:
        note(f"{made.cut:,} answers ended with a stop token written out, which was taken off")
    note(f"{path}: look at the scorers, then: danlu eval {out} --model M")


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("make-suite", epilog=EPILOG)(make_suite)
