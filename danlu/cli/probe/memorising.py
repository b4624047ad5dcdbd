"""``danlu probe memorising``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.output import result, table
from danlu.cli.probe.common import AsJson, Device, Minutes, Run, ask_and_tell

if TYPE_CHECKING:
    from danlu.runs.findings import ProbeReport

EPILOG = """\b
Examples:
  danlu probe memorising runs/my-run
  danlu data make knowledge --entities 20 --naming tokens --name facts   # train on them, then
  danlu probe memorising runs/facts --facts 60

Training answers are begun, and the model goes on word for word, or not. Invented facts, if the run
learned any, are asked as they were trained, in another wording, and the other way round, of every
checkpoint that was kept (checkpoints.keep).
"""


def memorising(
    path: Run,
    examples: Annotated[int, typer.Option(min=1, help="Answers begun, of each task type.")] = 20,
    facts: Annotated[int, typer.Option(min=1, help="Invented facts asked, at most.")] = 40,
    checkpoints: Annotated[
        bool,
        typer.Option("--checkpoints/--no-checkpoints", help="Ask facts of every checkpoint too."),
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    minutes: Minutes = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> int:
    """Count what the model has by heart: training answers, and invented facts over the epochs."""
    from danlu.diagnosis.memorising import Memorising

    probe = Memorising(examples, facts, checkpoints, seed, minutes)
    return ask_and_tell(probe, path, device, as_json, before=_tables)


WORDS = {
    "trained": "training answers continued word for word",
    "held_out": "held-out answers",
    "before": "training answers, before training",
}


def _tables(report: ProbeReport) -> None:
    figures: dict[str, Any] = dict(report.figures)
    for name, words in WORDS.items():
        if name in figures["verbatim"]:
            row = figures["verbatim"]
            right, of = row[name], row[f"{name}_of"]
            result(f"{words}: {round(right * of)} of {of}")
    rows: list[tuple[str, Any]] = [("before training", figures["recall_before"])]
    rows += [(f"step {row['step']}, epoch {row['epoch']}", row) for row in figures["over_epochs"]]
    rows.append(("tuned", figures["recall"]))
    if figures["recall"]:
        columns = ("facts recalled", *figures["recall"])
        cells = [(name, *(_share(row.get(form)) for form in columns[1:])) for name, row in rows]
        table(columns, cells, right=columns[1:])


def _share(found: Any) -> str:
    value = found["recalled"] if isinstance(found, dict) else found
    return "" if value is None else f"{value:.0%}"


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("memorising", epilog=EPILOG)(memorising)
