"""Voting in the terminal: two answers side by side, one key per verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.box import Box
from rich.cells import cell_len
from rich.console import Group
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from danlu.evaluation.contests import content_text
from danlu.evaluation.judging.asking import reference_text
from danlu.evaluation.store.votes import Verdict
from danlu.evaluation.voting.ballots import Ballot
from danlu.evaluation.voting.keys import ReadKey
from danlu.evaluation.voting.sitting import Sitting
from danlu.records.visible import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SIDE_BY_SIDE = 70
"""Columns from which two answers stand side by side; below, one under the other."""
TAB = 4

PAIR_KEYS: Mapping[str, Verdict] = {
    "1": "left",
    "left": "left",
    "2": "right",
    "right": "right",
    "t": "tie",
    "b": "both_bad",
    "s": "skip",
}
SINGLE_KEYS: Mapping[str, Verdict] = {"y": "usable", "n": "unusable", "s": "skip"}
PAIR_HELP = "1 ← left   2 → right   t tie   b both bad   s skip   u undo   q quit"
SINGLE_HELP = "y usable   n not usable   s skip   u undo   q quit"
_SAID: Mapping[Verdict, str] = {
    "left": "left is better",
    "right": "right is better",
    "tie": "tie",
    "both_bad": "both bad",
    "usable": "usable",
    "unusable": "not usable",
    "skip": "skipped",
}


def hold(sitting: Sitting, console: Console, read: ReadKey, *, reference: bool = True) -> int:
    """Show ballots and take verdicts until all are decided or the voter leaves.

    Args:
        sitting: What is decided.
        console: Where ballots are shown.
        read: Gives the next key.
        reference: Show reference answers.

    Returns:
        How many verdicts this sitting has added, less those taken back.
    """
    before = sitting.done
    said = f"{sitting.remembered} decided earlier" if sitting.remembered else ""
    while (ballot := sitting.current) is not None:
        _show(console, sitting, ballot, said, reference)
        keys, help_ = (PAIR_KEYS, PAIR_HELP) if ballot.right else (SINGLE_KEYS, SINGLE_HELP)
        said = ""
        while not said:
            key = read()
            folded = key if key in keys else key.lower()
            if not key or folded == "q":
                return sitting.done - before
            if folded == "u":
                said = "taken back" if sitting.undo() else "there is nothing to take back"
            elif folded in keys:
                sitting.decide(keys[folded])
                said = _SAID[keys[folded]]
            else:
                console.print(Text(f"no such key. {help_}", "yellow"))
    return sitting.done - before


def ballot_view(ballot: Ballot, width: int, *, reference: bool = True) -> RenderableType:
    """Return a ballot as rich draws it: the conversation, the reference, the answers.

    Args:
        ballot: Which.
        width: Columns of the terminal.
        reference: Show the reference answer.
    """
    parts: list[RenderableType] = []
    for message in ballot.item.messages:
        parts += [Text(str(message.get("role", "")), "bold cyan"), _body(content_text(message))]
    expected = reference_text(ballot.item)
    if reference and expected:
        parts += [Text("reference", "bold magenta"), _body(expected)]
    parts.append(Text())
    if ballot.right is None:
        return Group(*parts, Text("answer", "bold green"), _body(ballot.left.text))
    if width < SIDE_BY_SIDE:
        for name, side in (("1 left", ballot.left), ("2 right", ballot.right)):
            parts += [Rule(Text(name, "bold green"), align="left"), _body(side.text)]
        return Group(*parts)
    table = Table(box=_divided(), expand=True, show_edge=False, padding=(0, 1), pad_edge=False)
    half = (width - 3) // 2
    for name in ("1 left", "2 right"):
        table.add_column(Text(name, "bold green"), width=half, overflow="fold")
    table.add_row(_text(ballot.left.text), _text(ballot.right.text))
    return Group(*parts, table)


def _show(console: Console, sitting: Sitting, ballot: Ballot, said: str, reference: bool) -> None:
    if console.is_terminal:
        console.clear()
    place = f" {sitting.done + 1} of {sitting.total} · {visible(ballot.item.task_type)} "
    console.print(Rule(Text(place, "bold")))
    console.print(ballot_view(ballot, console.width, reference=reference), highlight=False)
    help_ = PAIR_HELP if ballot.right else SINGLE_HELP
    console.print(Rule(Text(f" {said} ", "yellow") if said else "", align="left"))
    if cell_len(help_) > console.width:
        help_ = " ".join(help_.split())
    console.print(Text(help_, "dim"))


def _body(text: str) -> RenderableType:
    return Padding(_text(text), (0, 0, 0, 2))


def _text(text: str) -> Text:
    """Return what others wrote as it is: no markup, nothing that the terminal obeys."""
    return Text(visible(text).expandtabs(TAB), overflow="fold")


def _divided() -> Box:
    return Box("    \n  │ \n ─┼ \n  │ \n ─┼ \n ─┼ \n  │ \n    \n")
