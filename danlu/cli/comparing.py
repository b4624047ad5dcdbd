"""What the commands that hold two versions against each other have in common."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from danlu.cli.output import PIPE_COLUMNS, note

if TYPE_CHECKING:
    from rich.console import Console

    from danlu.evaluation.directory import EvalDirectory

A = Annotated[
    str, typer.Argument(metavar="A", help="Evaluation folder, run or model: the earlier version.")
]
B = Annotated[
    str, typer.Argument(metavar="B", help="Evaluation folder, run or model: the later version.")
]
Suite = Annotated[
    str | None,
    typer.Option(help="Suite to compare on, if both were asked several.", metavar="NAME"),
]
Scorer = Annotated[
    str | None,
    typer.Option(
        help="Compare this scorer's scores, in place of those that count.", metavar="NAME"
    ),
]
Missing = Annotated[
    Literal["error", "count"],
    typer.Option(help="Prompts without a score on one side: stop, or leave out and count."),
]
Resamples = Annotated[int, typer.Option(help="Of the bootstrap and of sign flips.", min=100)]
Seed = Annotated[int, typer.Option(help="Of all that is drawn.", min=0)]
Evals = Annotated[Path, typer.Option(help="Folder of evaluations.", metavar="DIR")]
HtmlPage = Annotated[
    Path | None, typer.Option("--html", help="Write a page: one file, no server.", metavar="FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def pair_of(a: str, b: str, suite: str | None, evals: Path) -> tuple[EvalDirectory, EvalDirectory]:
    """Find both evaluations."""
    from danlu.evaluation.finding import find_pair

    return find_pair(a, b, suite=suite, evals=evals)


def wide_console() -> Console:
    """Return a console on stdout; where that is no terminal, nothing is folded early."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS
    return Console(width=width)


def printed_to(path: Path, page: str) -> None:
    """Write a page, and say where."""
    from danlu.runs.files import write_atomically

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    note(f"Page written to {path}.")
