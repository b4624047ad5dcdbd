"""What the quickstart prints: the figures, some answers side by side, and what to do next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from danlu.quickstart.outcome import Outcome
from danlu.quickstart.questions import TRAINING_DATA

if TYPE_CHECKING:
    from rich.console import Console

    from danlu.runs import Sample

SHOWN = 6
"""Answers printed side by side; the report has all of them, at full length."""

CELL_CHARACTERS = 80


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print the figures before and after."""
    from rich.table import Table

    table = Table(title="Held-out questions, answered rightly", title_justify="left")
    table.add_column("questions")
    for heading in ("before", "after", "of"):
        table.add_column(heading, justify="right")
    for label, subject in (("who it is (Danlu)", "identity"), ("general knowledge", "general")):
        figures = [getattr(outcome, f"{subject}_{part}") for part in ("before", "after", "total")]
        table.add_row(label, *map(str, figures))
    console.print(table)
    console.print(f"Training took {outcome.train_seconds:.0f} s.")


def show_samples(console: Console, samples: Sequence[Sample]) -> None:
    """Print some answers side by side, identity questions and general ones in turn."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Some answers", title_justify="left", show_lines=True)
    for heading, share in (("question", 3), ("before", 4), ("after", 4)):
        table.add_column(heading, ratio=share, overflow="fold")
    for sample in chosen(samples):
        cells = (sample.prompt, sample.before or "", sample.after or "")
        table.add_row(*(Text(shorten(cell, CELL_CHARACTERS, placeholder=" …")) for cell in cells))
    console.print(table)


def chosen(samples: Sequence[Sample]) -> list[Sample]:
    """Choose two identity samples for each general one, evenly over the questions asked."""
    identity = [s for s in samples if (s.task_type or "").startswith("identity/")]
    general = [s for s in samples if (s.task_type or "").startswith("general/")]
    return _evenly(identity, SHOWN - SHOWN // 3) + _evenly(general, SHOWN // 3)


def show_next(console: Console, run_dir: Path) -> None:
    """Print where the results lie and the next commands to type."""
    run, data = shlex.quote(str(run_dir)), shlex.quote(_from_here(TRAINING_DATA))
    danlu = shlex.quote(danlu_command())
    lines = [
        f"Report    {run_dir / 'report.html'}",
        f"Loss      {run_dir / 'loss.png'}",
        "",
        "Next:",
        f"  {danlu} chat {run}",
        f"  {danlu} explain {data} --model {run}",
        f"  {danlu} train sft-lora name=my-run data.train=my.jsonl",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def danlu_command() -> str:
    """Return how ``danlu`` is typed here: its path too, if its environment is not activated."""
    beside_python = Path(sys.executable).with_name("danlu")
    if shutil.which("danlu") or not beside_python.is_file():
        return "danlu"
    return _from_here(beside_python)


def _from_here(path: Path) -> str:
    """Return the shorter of the absolute path and the one from the current directory."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return min(str(path), relative, key=len)


def _evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Take ``count`` samples at even distances, or all if there are fewer."""
    count = min(count, len(samples))
    return [samples[place * len(samples) // count] for place in range(count)]
