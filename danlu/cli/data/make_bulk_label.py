"""``danlu data make bulk-label``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.data.asking import CACHE
from danlu.cli.data.common import (
    AsJson,
    Data,
    Name,
    StorePath,
    open_store,
    progress_bar,
    tell_version,
)
from danlu.cli.data.make import data_taxonomy, group
from danlu.cli.options import TaxonomyFile
from danlu.cli.output import note

EPILOG = """\b
Examples:
  danlu data make bulk-label mine --set model.path=builtin:smollm2-135m-instruct -n labelled
  danlu data make bulk-label mine --recipe my-recipe.yaml --agreement 0.9 --held-out 0.3
  danlu data make bulk-label texts --recipe classify --set training.epochs=5 -n labelled

The data hold labelled records (conversations with an answer, or texts with a column 'label') and
others that are not. A task type whose agreement is not sure to reach the limit stays as it was; if
none reaches it, nothing is made, and it is said what would help.
"""


class Agree(StrEnum):
    """When two answers agree."""

    same = "same"
    words = "words"


def bulk_label(
    data: Data,
    recipe: Annotated[
        str, typer.Option(help="How the small model learns: a recipe's name, or a YAML file.")
    ] = "sft-lora",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting in place of the recipe's."),
    ] = None,
    first: Annotated[
        int, typer.Option(min=10, help="Labelled records that are used at most.")
    ] = 1000,
    held_out: Annotated[
        float, typer.Option(help="Share of these that is held out, to try the model on.")
    ] = 0.2,
    agreement: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of its answers that must agree, for sure (95 %)."),
    ] = 0.85,
    agree: Annotated[
        Agree, typer.Option(help="The same final result, or much the same words (ROUGE-L).")
    ] = Agree.same,
    least_alike: Annotated[
        float, typer.Option(min=0, max=1, help="With words: least ROUGE-L F1.")
    ] = 0.7,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    taxonomy: TaxonomyFile = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where answers are kept; else requests.sqlite in the store.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw of what is held out.")] = 0,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Train a small model on what is labelled, and let it answer the rest if it may."""
    from danlu.config import load_recipe
    from danlu.evaluation.statistics import wilson
    from danlu.serving.student import SmallModel
    from danlu.workshop.data import as_version
    from danlu.workshop.produce.bar import spending_bar
    from danlu.workshop.produce.bulk_label import BulkLabel
    from danlu.workshop.produce.cache import RequestCache

    opened = open_store(store)
    loaded = load_recipe(recipe, settings or ())
    tree = data_taxonomy(taxonomy, data, store)
    with progress_bar() as progress:
        parent = as_version(opened, data, progress=progress)
    with (
        RequestCache(cache or opened.path / CACHE) as answers,
        spending_bar("answering") as tell,
        SmallModel(loaded, answers, max_new_tokens=max_new_tokens, tell=tell) as student,
    ):
        operation = BulkLabel(
            student,
            wilson,
            agreement,
            agree.value,
            least_alike,
            first,
            held_out,
            tree,
            seed,
        )
        version = opened.apply(operation, parent, name=name)
    tell_version(version, name, as_json)
    for task_type, tried in operation.tried.items():
        note(f"{task_type}: {tried.told()}")
    if student.run is not None:
        note(f"trained in {student.run.path}")


def register(parent: typer.Typer) -> None:
    """Add the command to those that make data."""
    group.command("bulk-label", epilog=EPILOG)(bulk_label)
