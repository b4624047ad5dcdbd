"""A comparison in the terminal: the tree with its verdicts, the causes, and what moved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from danlu.evaluation.comparison import Comparison, Node, Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from danlu.evaluation.compared import Case, Compared
    from danlu.evaluation.training_data import TypeMoved

COLOURS = {Verdict.BETTER: "green", Verdict.WORSE: "red", Verdict.SAME: "", Verdict.FEW: "yellow"}
COLUMNS = ("task type", "prompts", "A", "B", "difference", "interval", "verdict", "could have seen")
DATA_COLUMNS = (
    "task type",
    "records",
    "added",
    "removed",
    "edited",
    "of tokens",
    "of the loss",
    "answer length",
    "repeats",
    "loss at the end",
)
LINE_CHARACTERS = 160
"""Of a text on one line of the terminal."""


def show_compared(console: Console, compared: Compared, *, moves: int = 5) -> None:
    """Print verdicts, causes, what changed in the training data, and the greatest moves.

    Args:
        console: Where to.
        compared: What.
        moves: How many prompts of each direction, with both answers.
    """
    for side, path, of in zip("AB", compared.paths, (compared.a, compared.b), strict=True):
        _say(console, f"{side}  {path}  ({of.model.name}, suite {of.suite})")
    _say(console, "")
    show_tree(console, compared.comparison)
    _say(console, f"\n{compared.headline()}")
    for note in compared.notes:
        _say(console, f"Note: {note}")
    show_causes(console, compared)
    whole = compared.comparison
    for title, cases, found in (
        ("Regressions", compared.regressions, whole.regressions),
        ("Improvements", compared.improvements, whole.improvements),
    ):
        if found:
            shown = min(moves, len(cases))
            _say(console, f"\n{title}: {len(found)}" + _first(shown, len(found)), bold=True)
            for case in cases[:shown]:
                show_case(console, case)


def show_tree(console: Console, comparison: Comparison) -> None:
    """Print the tree of task types with scores and verdicts."""
    table = _table(COLUMNS, left=("task type", "verdict"))
    for depth, node in walk(comparison.overall):
        style = COLOURS[node.verdict] + (" bold" if node.kind != "task_type" else "")
        _add(table, cells(node, depth), style.strip())
    console.print(table)
    settings = comparison.settings
    many = len(comparison.task_types)
    how = {"bh": "Benjamini-Hochberg", "holm": "Holm"}[settings.correction]
    corrected = f", corrected for {many} task types ({how})" if many > 1 else ""
    _say(
        console,
        f"Intervals {settings.confidence:.0%}; verdicts at {settings.level:.0%}{corrected}. "
        f"'Could have seen': the smallest difference that shows with a chance of "
        f"{settings.power:.0%}.",
        style="dim",
    )


def show_causes(console: Console, compared: Compared) -> None:
    """Print why task types moved, and what changed in what they were trained on."""
    if compared.explanations:
        _say(console, "\nWhy, likeliest first", bold=True)
        for one in compared.explanations:
            _say(console, f"  {one.task_type}")
            for cause in one.causes:
                _say(console, f"    {cause.strength:4.2f}  {cause.kind:<9} {cause.evidence}")
    training = compared.training
    if training is None or not compared.explanations:
        return
    moved = {one.task_type for one in compared.explanations}
    rows = [data_cells(name, one) for name, one in training.task_types.items() if name in moved]
    if rows:
        _say(console, "\nTraining data of the task types that moved", bold=True)
        table = _table(DATA_COLUMNS, left=("task type",))
        for row in rows:
            _add(table, row)
        console.print(table)
    if training.settings:
        _say(console, "\nSettings", bold=True)
        for name, (before, after) in training.settings.items():
            _say(console, f"  {name}: {before} → {after}")


def data_cells(name: str, one: TypeMoved) -> tuple[str, ...]:
    """Return a row of the table of training data: what ``DATA_COLUMNS`` names."""
    change = one.change
    before, after = change.before, change.after
    counts = (change.added, change.removed, change.changed)

    def pair(attribute: str, form: str) -> str:
        values = [getattr(side, attribute) if side else None for side in (before, after)]
        return arrow(*("–" if value is None else format(value, form) for value in values))

    losses = [side.last_loss if side else None for side in (one.before, one.after)]
    return (
        name,
        arrow(*(f"{side.records if side else 0:,}" for side in (before, after))),
        *(f"{count:,}" if count else "" for count in counts),
        arrow(*(f"{share:.1%}" for share in one.shares)),
        pair("loss_share", ".1%"),
        pair("answer_length", ".0f"),
        pair("duplicates", ","),
        arrow(*("–" if loss is None else f"{loss:.3f}" for loss in losses)),
    )


def arrow(before: str, after: str) -> str:
    """Write two values as one, or as a change.

    Example:
        >>> arrow("3", "3"), arrow("3", "5")
        ('3', '3 → 5')
    """
    return before if before == after else f"{before} → {after}"


def show_case(console: Console, case: Case) -> None:
    """Print a prompt with both answers; what only one of them has is coloured."""
    from rich.text import Text

    from danlu.evaluation.differing import differing

    move = case.move
    _say(console, f"  {move.a:.3f} → {move.b:.3f}  {move.task_type}  {move.prompt}")
    _say(console, f"    asked     {shortened(case.asked)}")
    if case.reference is not None:
        _say(console, f"    expected  {shortened(reference_text(case.reference))}")
    pieces = differing(shortened(case.a.text or ""), shortened(case.b.text or ""))
    for letter, parts, answer, style in (
        ("A", pieces.a, case.a, "red strike" if move.change > 0 else "green"),
        ("B", pieces.b, case.b, "green" if move.change > 0 else "red"),
    ):
        line = Text(f"    {letter}         ")
        for text, differs in parts:
            line.append(text, style=style if differs else "")
        if answer.text is None:
            line.append("(no answer)", style="dim")
        if answer.why:
            line.append(f"  [{shortened(answer.why)}]", style="dim")
        console.print(line, soft_wrap=True)


def shortened(text: str) -> str:
    """Write a text on one line, its middle left out if it is long."""
    line = " ".join(text.split())
    if len(line) <= LINE_CHARACTERS:
        return line
    half = LINE_CHARACTERS // 2
    return f"{line[:half]} … {line[-half:]}"


def reference_text(reference: Any) -> str:
    """Write what was expected as a person reads it: a text, several, or JSON."""
    if isinstance(reference, str):
        return reference
    if isinstance(reference, list | tuple) and all(isinstance(one, str) for one in reference):
        return " / ".join(reference)
    return json.dumps(reference, ensure_ascii=False)


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


# Inner -----------------------------------------------------------------------------------


def _say(console: Console, text: str, *, bold: bool = False, style: str = "") -> None:
    style = "bold" if bold else style
    console.print(text, markup=False, highlight=False, soft_wrap=True, style=style)


def _first(shown: int, found: int) -> str:
    return "" if shown == found else f", the first {shown}"


def _table(columns: Sequence[str], left: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "left" if column in left else "right"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def _add(table: Table, row: Sequence[str], style: str = "") -> None:
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in row), style=style)
