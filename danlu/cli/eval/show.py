"""``danlu eval show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.eval.common import AsJson, Place, opened, tell
from danlu.cli.output import note, result, result_json

if TYPE_CHECKING:
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.reading_back import Shown

EPILOG = """\b
Examples:
  danlu eval show evals/general-my-run
  danlu eval show evals/general-my-run --wrong 5 --task-type 'format/*'
  danlu eval show evals/general-my-run --item en-capital-1 --json
"""


def show(
    place: Place,
    wrong: Annotated[
        int | None, typer.Option(min=1, help="Show so many items with the lowest scores.")
    ] = None,
    missing: Annotated[
        int | None, typer.Option(min=1, help="Show so many items without a score.")
    ] = None,
    item: Annotated[list[str] | None, typer.Option(help="Show this item; again for more.")] = None,
    task_type: Annotated[
        str | None, typer.Option(help="Only of this task type; a pattern such as 'math/*'.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the table of an evaluation, or items with answers and scores."""
    directory = opened(place)
    if wrong is None and missing is None and not item:
        _table(directory, as_json)
        return
    from danlu.evaluation.reading_back import shown_items

    found = shown_items(directory, task_type, item or (), wrong=wrong, missing=missing)
    for one in found:
        result_json(one.as_object()) if as_json else _print(one)
    if not found:
        note("no item is so")


def _table(directory: EvalDirectory, as_json: bool) -> None:
    summary = directory.summary()
    if summary is None:
        answers = sum(1 for _ in directory.answers())
        note(
            f"this evaluation is {directory.state()}, with {answers:,} answers and no scores yet. "
            "Run the same command again to go on with it, or score what is there: danlu eval score "
            f"{directory.path}"
        )
        raise typer.Exit(1)
    tell(directory, summary, as_json)


def _print(one: Shown) -> None:
    from danlu.evaluation.table import visible

    result(visible("\n".join(one.lines())) + "\n")


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("show", epilog=EPILOG)(show)
