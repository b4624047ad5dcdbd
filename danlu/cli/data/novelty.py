"""``danlu data novelty``."""

from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.data.common import (
    AsJson,
    Data,
    Name,
    Ray,
    StorePath,
    executor_on,
    open_store,
    progress_bar,
    tell_version,
)

EPILOG = """\b
Examples:
  danlu data novelty mine -n mine
  danlu data novelty more --pool mine -n more

Prompts are compared by ROUGE-L, over words and, in Chinese, over characters; each with every one
that is kept before it, as in self-instruct.
"""


def novelty(
    data: Data,
    limit: Annotated[float, typer.Option(help="Highest ROUGE-L F1 that is still new.")] = 0.7,
    pool: Annotated[
        str | None, typer.Option(help="A dataset whose prompts are there before.", metavar="DATA")
    ] = None,
    ray: Ray = None,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Drop records whose prompts say little that is new."""
    from danlu.workshop.data import as_version
    from danlu.workshop.execution.executor import HERE
    from danlu.workshop.operations.given import Pool
    from danlu.workshop.operations.novelty import Novelty

    opened = open_store(store)
    with progress_bar() as progress:
        before = as_version(opened, pool, progress=progress).records() if pool else ()
        operation = Novelty(limit, Pool.of(before), executor_on(ray) if ray else HERE)
        parent = as_version(opened, data, progress=progress)
        version = opened.apply(operation, parent, name=name, progress=progress)
    tell_version(version, name, as_json)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("novelty", epilog=EPILOG)(novelty)
