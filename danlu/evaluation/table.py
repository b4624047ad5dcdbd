"""An evaluation in the terminal: the tree of task types, and items with their answers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from danlu.evaluation.schema import EvalSummary, TypeStakes, TypeSummary
from danlu.evaluation.summary import weighted

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = ("task type", "items", "score", "95 % interval", "scorer", "also")
MOST_FIGURES = 4


def show_summary(console: Console, summary: EvalSummary, stakes: Mapping[str, TypeStakes]) -> None:
    """Print the table: all, areas, and their task types.

    Args:
        console: Where to.
        summary: What.
        stakes: How each task type is scored.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in COLUMNS:
        right = column in ("items", "score", "95 % interval")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for cells, bold in rows(summary, stakes):
        table.add_row(*(Text(cell) for cell in cells), style="bold" if bold else "")
    console.print(table)


def rows(
    summary: EvalSummary, stakes: Mapping[str, TypeStakes]
) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Give the cells of each row, and whether it is one of an area or of all."""
    types = summary.task_types
    yield ("all", _items(types.values()), _score(summary.score), "", "", ""), True
    areas = dict.fromkeys(name.partition("/")[0] for name in types)
    for area in areas:
        inside = {name: of for name, of in types.items() if name.partition("/")[0] == area}
        score = _score(weighted(inside, stakes, area))
        yield (f"  {area}", _items(inside.values()), score, "", "", ""), True
        for name, of in inside.items():
            yield _type_cells(name, of, stakes[name]), False


def _type_cells(name: str, of: TypeSummary, stakes: TypeStakes) -> tuple[str, ...]:
    low_high = "" if of.low is None else f"{of.low:.3f} to {of.high:.3f}"
    return (
        f"    {name.partition('/')[2]}" + (" *" if stakes.critical else ""),
        _items([of]),
        _score(of.score),
        low_high,
        stakes.scorer,
        ", ".join(_told(of)),
    )


def _told(of: TypeSummary) -> Iterator[str]:
    """Say figures and what is missing."""
    for kind, count in of.failures.items():
        yield f"{count} {kind.replace('_', ' ')}"
    shown = list(of.figures.items())
    for name, value in shown[:MOST_FIGURES]:
        yield f"{name} {value:.3g}"
    if len(shown) > MOST_FIGURES:
        yield f"{len(shown) - MOST_FIGURES} more"


def _items(types: object) -> str:
    found = list(types)  # type: ignore[call-overload]
    items, scored = sum(one.items for one in found), sum(one.scored for one in found)
    return f"{items:,}" if scored == items else f"{scored:,} of {items:,}"


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


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
