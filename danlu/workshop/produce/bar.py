"""How far the requests are, and what they have cost, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from danlu.workshop.produce.budget import Prices
from danlu.workshop.produce.engine import Status, Tell


def told(status: Status, prices: Prices) -> str:
    """Say in a line what requests have cost and how they went.

    Example:
        >>> told(Status(9, 10, 4, 1, 2, 1200, 300, 0.0012), Prices(0.5, 2.0))
        '1,500 tokens, 0.0012 in money, 4 from the cache, 1 unanswered, 2 repeats'
        >>> told(Status(1, 10, 0, 0, 0, 1200, 300), Prices())
        '1,500 tokens'
    """
    parts = [f"{status.prompt_tokens + status.completion_tokens:,} tokens"]
    if prices != Prices():
        parts.append(f"{status.money:.4f} in money")
    for count, name in (
        (status.cached, "from the cache"),
        (status.unanswered, "unanswered"),
        (status.retries, "repeats"),
    ):
        if count:
            parts.append(f"{count:,} {name}")
    return ", ".join(parts)


@contextmanager
def spending_bar(
    stage: str, prices: Prices | None = None, *, file: TextIO | None = None
) -> Iterator[Tell]:
    """Show a bar with the cost so far while the block lasts, if stderr is a terminal.

    Args:
        stage: What is being done.
        prices: Those of the engine.
        file: Where; None is stderr.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    console = Console(file=file or sys.stderr)
    if not console.is_terminal:
        yield lambda status: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        # On a narrow terminal this is what is broken into lines.
        TextColumn("{task.fields[cost]}", table_column=Column(no_wrap=False)),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(stage, total=None, cost="")

        def tell(status: Status) -> None:
            cost = told(status, prices or Prices())
            bar.update(task, completed=status.done, total=status.total, cost=cost)

        yield tell
