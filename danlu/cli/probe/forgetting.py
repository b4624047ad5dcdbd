"""``danlu probe forgetting``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.output import result, table
from danlu.cli.probe.common import AsJson, Device, Minutes, Run, ask_and_tell

if TYPE_CHECKING:
    from danlu.runs.findings import ProbeReport

EPILOG = """\b
Examples:
  danlu probe forgetting runs/my-run
  danlu probe forgetting runs/my-run --items 4 --minutes 10
  danlu probe forgetting runs/my-run --suite my-suite.yaml --examples 0 --no-text

Asks the model and the one it was made from: a general suite, plain text, and training questions in
another wording and with a requirement added. The model before training is the control.
"""

SIGNS = {
    "wording": "the same answer in another wording",
    "requirement": "an added requirement is met",
    "outside": "no trace of training answers outside",
}


def forgetting(
    path: Run,
    suite: Annotated[str, typer.Option(help="What is asked: a suite's name or file.")] = "general",
    items: Annotated[
        int | None, typer.Option(min=1, help="At most so many items of each of its task types.")
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, help="Training prompts of each task type, 24 in all; 0: none.")
    ] = 6,
    text: Annotated[bool, typer.Option("--text/--no-text", help="Predict plain text too.")] = True,
    minutes: Minutes = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> int:
    """Compare general abilities and plain text before and after, and look for the four signs."""
    from danlu.diagnosis.forgetting.probe import Forgetting

    probe = Forgetting(suite, items, examples, text, minutes=minutes)
    return ask_and_tell(probe, path, device, as_json, before=_tables)


def _tables(report: ProbeReport) -> None:
    figures: dict[str, Any] = dict(report.figures)
    columns = ("ability", "asked", "before", "after", "change", "interval")
    table(
        columns,
        [
            (
                row["ability"],
                row["asked"],
                row["before"],
                row["after"],
                f"{row['change']:+.0%}",
                f"{row['change_low']:+.0%} to {row['change_high']:+.0%}",
            )
            for row in figures["abilities"]
        ],
        right=columns[1:],
    )
    if text := figures.get("plain_text"):
        result(
            f"plain text: {text['before']:.3f} bits per byte before, {text['after']:.3f} after "
            f"({text['rise_low']:+.3f} to {text['rise_high']:+.3f})"
        )
    for name, row in figures["signs"].items():
        result(
            f"{SIGNS[name]}: {row['base']:.0%} before, {row['tuned']:.0%} after, of "
            f"{row['tuned_of']}"
        )


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("forgetting", epilog=EPILOG)(forgetting)
