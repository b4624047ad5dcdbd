"""``danlu probe hallucination``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.output import result
from danlu.cli.probe.common import AsJson, Device, Minutes, Run, ask_and_tell

if TYPE_CHECKING:
    from danlu.runs.findings import ProbeReport

EPILOG = """\b
Examples:
  danlu probe hallucination runs/my-run
  danlu probe hallucination runs/my-run --items facts.jsonl --draws 8

Each item is asked of the model before training, and of the tuned one, plainly, after examples, and
as plain text to be continued. A model knows what it says in half of the draws of one of these ways.
"""

CLASSES = {
    "kept": "kept",
    "untold": "there but no longer told",
    "lost": "lost in tuning",
    "gained": "gained in tuning",
    "never-known": "never known",
    "wrong-before": "wrong since pre-training",
}


def hallucination(
    path: Run,
    items: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Records, each a question and its answer; else shipped."),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="At most so many items.")] = 40,
    draws: Annotated[int, typer.Option(min=1, help="Of each answer.")] = 4,
    temperature: Annotated[float, typer.Option(help="Of the draws.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    minutes: Minutes = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> int:
    """Sort knowledge into kept, lost in tuning, never known, and wrong since pre-training."""
    from danlu.diagnosis.hallucination import Hallucination

    probe = Hallucination(tuple(items or ()), most, draws, temperature, seed, minutes)
    return ask_and_tell(probe, path, device, as_json, before=_counts)


def _counts(report: ProbeReport) -> None:
    figures: dict[str, Any] = dict(report.figures)
    counts = figures["classes"]
    result(", ".join(f"{counts[name]} {words}" for name, words in CLASSES.items()))


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("hallucination", epilog=EPILOG)(hallucination)
