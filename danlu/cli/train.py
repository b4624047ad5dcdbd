"""``danlu train``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.output import note, result, result_json, table

if TYPE_CHECKING:
    from danlu.runs import Summary
    from danlu.training.estimate import Plan

EPILOG = """\b
Examples:
  danlu train quickstart
  danlu train sft-lora name=my-run data.train=my.jsonl training.epochs=1
  danlu train my.yaml --dry-run
  danlu train my.yaml --resume
"""
INTERRUPTED = 130


def train(
    recipe: Annotated[
        str, typer.Argument(help="A YAML file, or a name from 'danlu recipe list'.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings in place of the recipe's."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be trained and what it costs; train not."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove an earlier run of the same name first.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: the summary, or with --dry-run the plan.")
    ] = False,
) -> int:
    """Train a model as a recipe says."""
    from danlu.config import load_recipe, recipe_text

    loaded = load_recipe(recipe, settings or ())
    if dry_run:
        from danlu.training.estimate import dry_run as estimate

        _print_plan(estimate(loaded), as_json)
        return 0
    from danlu.training.run import train as train_recipe

    run = train_recipe(
        loaded, resume=resume, overwrite=overwrite, recipe_text=recipe_text(loaded)
    )
    if int(os.environ.get("RANK", "0")) > 0:
        return 0  # the first process speaks for all
    if run.summary is None:
        return INTERRUPTED
    _print_summary(str(run.path), run.summary, as_json)
    return 0
