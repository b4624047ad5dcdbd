"""``danlu probe fit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.output import note, table
from danlu.cli.probe.common import AsJson, Device, Minutes, Run, ask_and_tell

if TYPE_CHECKING:
    from danlu.runs.findings import ProbeReport

EPILOG = """\b
Examples:
  danlu probe fit runs/my-run
  danlu probe fit runs/my-run --held-out test.jsonl --examples 100
  danlu probe fit runs/my-run --type support/intent --minutes 5 --json

Each task type is healthy, not-learned (it fails on its own training prompts), not-general (it fails
on held-out ones only), overfitted, learned-untested (nothing was held out) or too-few-to-tell.
What the models said is kept in RUN/diagnosis, so that asking again takes seconds.
"""


def fit(
    path: Run,
    examples: Annotated[
        int, typer.Option(min=1, help="Prompts of each task type, trained and held out.")
    ] = 30,
    held_out: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Held-out records; again for more files."),
    ] = None,
    task_type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only this task type.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    minutes: Minutes = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> int:
    """Decide of each task type whether it is learned, and whether it generalises."""
    from danlu.diagnosis.fit.probe import Fit

    probe = Fit(examples, tuple(held_out or ()), tuple(task_type or ()), seed, minutes)
    return ask_and_tell(probe, path, device, as_json, before=_table)


def _table(report: ProbeReport) -> None:
    rows: list[Any] = report.figures.get("task_types") or []  # type: ignore[assignment]
    halves = ["train"] + ["held_out"] * any(row["held_out_asked"] for row in rows)
    words = {"train": "trained", "held_out": "held out"}
    columns = ["task type", "verdict", *(f"{words[half]}: right" for half in halves)]
    columns += [f"{words[half]}: nats (before)" for half in halves]
    cells = [
        (
            row["task_type"],
            row["verdict"],
            *(_share(row, half) for half in halves),
            *(_nats(row, half) for half in halves),
        )
        for row in rows
    ]
    table(columns, cells, right=columns[2:])
    if any(row["free_text"] for row in rows):
        names = ", ".join(row["task_type"] for row in rows if row["free_text"])
        note(
            f"Free text: {names}. Their shares are of answers like the reference (ROUGE-L of at "
            "least 0.5, all its numbers in it); what was learned is read off the nats per token."
        )


def _share(row: dict[str, Any], half: str) -> str:
    if not row.get(f"{half}_asked"):
        return ""
    low, high = row[f"{half}_right_low"], row[f"{half}_right_high"]
    return f"{row[f'{half}_right']:.0%} ({low:.0%}-{high:.0%}) of {row[f'{half}_asked']}"


def _nats(row: dict[str, Any], half: str) -> str:
    nll, before = row.get(f"{half}_nll"), row.get(f"{half}_nll_before")
    if nll is None:
        return ""
    return f"{nll:.2f}" if before is None else f"{nll:.2f} ({before:.2f})"


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("fit", epilog=EPILOG)(fit)
