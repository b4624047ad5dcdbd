"""``danlu squeeze``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.common import progress_bar
from danlu.cli.findings import tell
from danlu.cli.options import AsJson, RecipeName, Settings
from danlu.cli.output import note, result_json, table
from danlu.cli.sweep import Minutes

if TYPE_CHECKING:
    from danlu.diagnosis.squeeze.squeeze import Squeezed

EPILOG = """\b
Examples:
  danlu squeeze quickstart --task identity --suite quickstart
  danlu squeeze my.yaml --task shop/returns --over learning_rate --minutes 60 data.eval_share=0.1

First the task is trained alone: what is not learned then, no setting will teach. Then the share of
the task in the mix (or the learning rate, or the epochs) is bisected for where the task is learned
and the general score is within its margin. The folder gets squeeze.html, squeeze.json and
squeezed.yaml, the recipe to use. A squeeze that was stopped goes on where it was.

Exit code: 0 if a setting was found, 1 if not, 2 for a mistake in what was asked.
"""
FOUND, NOT_FOUND = 0, 1


def squeeze(
    recipe: RecipeName,
    task: Annotated[
        str, typer.Option("--task", "-t", help="The target: a task type, or an area of them.")
    ],
    settings: Settings = None,
    over: Annotated[
        str, typer.Option(help="What is varied: share, learning_rate or epochs.")
    ] = "share",
    learned: Annotated[
        float, typer.Option(help="Share of the task's questions to be answered rightly.")
    ] = 0.9,
    margin: Annotated[
        float, typer.Option(help="By how much the share of right general answers may fall.")
    ] = 0.03,
    suite: Annotated[
        list[str] | None,
        typer.Option(help="Suite with questions of the task, of anything else, or both; again."),
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Most questions of each task type.")] = 24,
    runs: Annotated[int, typer.Option(min=1, help="Most runs, the task alone included.")] = 8,
    minutes: Minutes = None,
    low: Annotated[float | None, typer.Option(help="Least setting.")] = None,
    high: Annotated[float | None, typer.Option(help="Largest setting.")] = None,
    records: Annotated[
        int | None,
        typer.Option(min=1, help="Records of an epoch, where the share is varied. [all]"),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the squeeze.", metavar="DIR")
    ] = Path("squeeze/squeeze"),
    device: Annotated[str, typer.Option(help="Where models answer.")] = "auto",
    as_json: AsJson = False,
) -> int:
    """Find where a task is learned and little else is forgotten."""
    from danlu.config import load_recipe
    from danlu.diagnosis.squeeze.knob import over_named
    from danlu.diagnosis.squeeze.measure import RealMeasurer
    from danlu.diagnosis.squeeze.plan import Wish, plan_of
    from danlu.diagnosis.squeeze.squeeze import squeeze as squeeze_plan
    from danlu.diagnosis.squeeze.written import write_squeeze
    from danlu.diagnosis.sweep.trials import Pace

    wish = Wish(
        task, over_named(over), learned, margin, runs, tuple(suite or ()), questions, low, high,
        records,
    )  # fmt: skip
    plan = plan_of(load_recipe(recipe, settings or ()), wish, output)
    shared = output / "prepared"
    measurer = RealMeasurer(wish, Pace(minutes), device, note, progress_bar, shared=shared)
    found = squeeze_plan(plan, measurer)
    if not found.tried:
        note("no run was begun within --minutes")
        return NOT_FOUND
    command = shlex.join(["danlu", *sys.argv[1:]])
    rows, report = write_squeeze(found, measurer.source, command)
    if as_json:
        result_json(rows)
    else:
        _print(found)
        tell([report], as_json=False)
        note(f"all of it: {rows['page']}")
    return FOUND if found.best else NOT_FOUND


def _print(found: Squeezed) -> None:
    from danlu.diagnosis.squeeze.page import head_of, rows_of

    table(head_of(found), rows_of(found))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("squeeze", epilog=EPILOG)(squeeze)
