"""A comparison in the terminal: the tree with its verdicts, and the prompts that moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from danlu.evaluation.comparison import Comparison, Move, Node, Verdict

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {Verdict.BETTER: "green", Verdict.WORSE: "red", Verdict.SAME: "", Verdict.FEW: "yellow"}
COLUMNS = ("task type", "prompts", "A", "B", "difference", "interval", "verdict", "could have seen")


def show_comparison(console: Console, comparison: Comparison, *, moves: int = 10) -> None:
    """Print the tree, and the greatest regressions and improvements.

    Args:
        console: Where to.
        comparison: What.
        moves: How many prompts of each.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in COLUMNS:
        left = column in ("task type", "verdict")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for depth, node in walk(comparison.overall):
        style = COLOURS[node.verdict] + (" bold" if node.kind != "task_type" else "")
        table.add_row(*(Text(cell) for cell in cells(node, depth)), style=style.strip())
    console.print(table)
    for title, found in (
        ("Regressions", comparison.regressions),
        ("Improvements", comparison.improvements),
    ):
        if found:
            console.print(f"\n{title}: {len(found)}", markup=False, highlight=False)
            for line in move_lines(found[:moves]):
                console.print(line, markup=False, highlight=False, soft_wrap=True)


def walk(node: Node, depth: int = 0) -> Iterator[tuple[int, Node]]:
    """Give each node with its depth, parents first."""
    yield depth, node
    for child in node.children:
        yield from walk(child, depth + 1)


def cells(node: Node, depth: int = 0) -> tuple[str, ...]:
    """Return a row of the table: what ``COLUMNS`` names.

    Of areas and all, whose scores are shares, and of task types in their own units.
    """
    name = node.name.partition("/")[2] if node.kind == "task_type" else node.name
    unscored = node.missing_a + node.missing_b + node.only_a + node.only_b
    return (
        "  " * depth + name + (" *" if node.critical and node.kind == "task_type" else ""),
        f"{node.prompts}" + (f" (+{unscored} unscored)" if unscored else ""),
        f"{node.a.score:.3f}",
        f"{node.b.score:.3f}",
        f"{node.difference:+.3f}",
        "" if node.low is None else f"{node.low:+.3f} to {node.high:+.3f}",
        node.verdict.value,
        "nothing" if node.smallest is None else f"{node.smallest:.3f}",
    )


def move_lines(moves: Sequence[Move]) -> Iterator[str]:
    """Say each prompt that moved in a line."""
    for move in moves:
        yield f"  {move.a:.3f} to {move.b:.3f}  {move.task_type}  {move.prompt}"
