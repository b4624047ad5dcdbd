"""An evaluation in the terminal: the tree of task types, and items with their answers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from danlu.evaluation.schema import EvalSummary, TypeStakes, TypeSummary
from danlu.evaluation.summary import weighted

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = ("task type", "items", "scored", "score", "95 % interval", "scorer", "also")
RIGHT = ("items", "scored", "score", "95 % interval")
MOST_FIGURES = 4


def show_summary(console: Console, summary: EvalSummary, stakes: Mapping[str, TypeStakes]) -> None:
    """Print the table: all, areas, and their task types.

    A score that is of some of the items only stands in parentheses, as its interval does: it says
    nothing of the others.

    Args:
        console: Where to.
        summary: What.
        stakes: How each task type is scored.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in COLUMNS:
        justify: Literal["left", "right"] = "right" if column in RIGHT else "left"
        table.add_column(column, justify=justify, overflow="fold")
    for cells, bold in rows(summary, stakes):
        table.add_row(*(Text(cell) for cell in cells), style="bold" if bold else "")
    console.print(table)


def rows(
    summary: EvalSummary, stakes: Mapping[str, TypeStakes]
) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Give the cells of each row, and whether it is one of an area or of all."""
    types = summary.task_types
    yield ("all", *_counted(types, summary.score), "", "", ""), True
    areas = dict.fromkeys(name.partition("/")[0] for name in types)
    for area in areas:
        inside = {name: of for name, of in types.items() if name.partition("/")[0] == area}
        yield (f"  {area}", *_counted(inside, weighted(inside, stakes, area)), "", "", ""), True
        for name, of in inside.items():
            yield _type_cells(name, of, stakes[name]), False


def _type_cells(name: str, of: TypeSummary, stakes: TypeStakes) -> tuple[str, ...]:
    ends = "" if of.low is None else f"{of.low:.3f} to {of.high:.3f}"
    return (
        f"    {name.partition('/')[2]}" + (" *" if stakes.critical else ""),
        *_counted({name: of}, of.score),
        _of_some(ends) if of.scored < of.items else ends,
        stakes.scorer,
        ", ".join(_told(of)),
    )


def _counted(types: Mapping[str, TypeSummary], score: float | None) -> tuple[str, str, str]:
    """Return how many items there are, how many have a score, and the score."""
    items, scored = (
        sum(getattr(of, name) for of in types.values()) for name in ("items", "scored")
    )
    shown = "none" if score is None else f"{score:.3f}"
    if scored == items:
        return f"{items:,}", f"{scored:,}", shown
    share = f"{scored:,} ({100 * scored // max(1, items)} %)"
    return f"{items:,}", share, shown if score is None else _of_some(shown)


def _of_some(shown: str) -> str:
    """Mark what is said of some of the items only."""
    return f"({shown})" if shown else ""


def _told(of: TypeSummary) -> Iterator[str]:
    """Say figures and what is missing."""
    for kind, count in of.failures.items():
        yield f"{count} {kind.replace('_', ' ')}"
    shown = list(of.figures.items())
    for name, value in shown[:MOST_FIGURES]:
        yield f"{name} {value:.3g}"
    if len(shown) > MOST_FIGURES:
        yield f"{len(shown) - MOST_FIGURES} more"


def visible(text: str) -> str:
    r"""Show control characters as what they are, so that an answer cannot steer a terminal.

    Example:
        >>> visible("red \x1b[31m, 中文\nnext\u202e")
        'red \\x1b[31m, 中文\nnext\\u202e'
    """
    return "".join(
        char
        if char in "\n\t\u200c\u200d" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")
        else char.encode("unicode_escape").decode()
        for char in text
    )
