"""``danlu recipe``: the shipped recipes, and every setting of one."""

from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.options import AsJsonArray, Settings
from danlu.cli.output import result, result_json, table

LIST_EPILOG = """\b
Example:
  danlu recipe list
"""
SHOW_EPILOG = """\b
Examples:
  danlu recipe show sft-lora
  danlu recipe show my.yaml training.epochs=1 --json
  danlu recipe show sft-lora > my.yaml

The text is a recipe itself; settings left at their default are commented out.
"""

group = typer.Typer(
    help="List the shipped recipes, or show every setting of one.",
    rich_markup_mode=None,
)


@group.command("list", epilog=LIST_EPILOG)
def list_recipes(
    as_json: AsJsonArray = False,
) -> None:
    """List the recipes that come with Danlu."""
    from danlu.config import recipe_summary, shipped_recipes

    rows = [
        {"name": name, "summary": recipe_summary(path), "path": str(path)}
        for name, path in shipped_recipes().items()
    ]
    if as_json:
        result_json(rows)
    else:
        table(["name", "summary"], [(row["name"], row["summary"]) for row in rows])


@group.command("show", epilog=SHOW_EPILOG)
def show(
    recipe: Annotated[str, typer.Argument(metavar="NAME", help="A shipped name, or a YAML file.")],
    settings: Settings = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON array with one object per setting.")
    ] = False,
) -> None:
    """Show every setting with its meaning, its default and where that comes from."""
    from danlu.config import annotated, describe, load_recipe

    loaded = load_recipe(recipe, settings or ())
    if as_json:
        result_json([setting.as_dict() for setting in describe(loaded)])
    else:
        result(annotated(loaded).rstrip("\n"))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="recipe")
