"""What a person sees while training: a bar with ETA and speed, and the loss per task type."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from danlu.runs import MetricsRow

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_EVERY_S = 10.0
"""Without a terminal, a line at most this often."""
MOST_TASK_TYPES = 12


class TrainingProgress:
    """A live display on a terminal; single lines elsewhere. Everything goes to stderr.

    Args:
        total_steps: Where the bar ends.
        done: Steps done before, in a resumed run.
        console: Where to print; stderr by default.
    """

    def __init__(self, total_steps: int, done: int = 0, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = console or Console(stderr=True)
        self.total_steps = total_steps
        self.bar = Progress(
            TextColumn("[bold]training"),
            BarColumn(bar_width=None),
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self.console,
            expand=True,
            speed_estimate_period=600,
        )
        self.task = self.bar.add_task("training", total=total_steps, completed=done, numbers="")
        self.train: dict[str, float] = {}
        self.eval: dict[str, float] = {}
        self.printed_at = 0.0
        self.live: Any = None

    @contextmanager
    def showing(self) -> Iterator[TrainingProgress]:
        """Show the display for the block."""
        if not self.console.is_terminal:
            yield self
            return
        from rich.live import Live

        with Live(self.render(), console=self.console, refresh_per_second=4) as self.live:
            yield self

    def __call__(self, row: MetricsRow) -> None:
        """Show a metrics row."""
        losses = self.train if row.split == "train" else self.eval
        losses.update({name: channel.loss for name, channel in row.channels.items()})
        if row.split == "train":
            speed = row.tokens_per_second or 0.0
            numbers = f"loss {row.loss:.3f}  {speed:,.0f} tokens/s"
            self.bar.update(self.task, completed=row.step, numbers=numbers)
        if self.live is not None:
            self.live.update(self.render())
            return
        now = time.monotonic()
        last = row.step == self.total_steps
        if row.split == "eval" or last or now - self.printed_at >= PLAIN_EVERY_S:
            self.printed_at = now
            self.console.print(self.line(row), highlight=False, soft_wrap=True)

    def line(self, row: MetricsRow) -> str:
        """Return one line about a row, for logs."""
        speed = f"  {row.tokens_per_second:,.0f} tokens/s" if row.tokens_per_second else ""
        kind = "eval " if row.split == "eval" else ""
        parts = "  ".join(
            f"{name} {channel.loss:.3f}" for name, channel in list(row.channels.items())[:4]
        )
        more = f"  (+{len(row.channels) - 4} more)" if len(row.channels) > 4 else ""
        where = f"step {row.step}/{self.total_steps}  epoch {row.epoch:.2f}"
        return f"{where}  {kind}loss {row.loss:.3f}{speed}  | {parts}{more}"

    def render(self) -> RenderableType:
        """Return the bar, and a line per task type below it."""
        from rich.console import Group
        from rich.table import Table

        table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(self.train))
        table.add_column("task type", style="dim")
        table.add_column("loss", justify="right")
        if self.eval:
            table.add_column("eval loss", justify="right")
        names = sorted({*self.train, *self.eval})
        for name in names[:MOST_TASK_TYPES]:
            cells = [name, _number(self.train.get(name))]
            if self.eval:
                cells.append(_number(self.eval.get(name)))
            table.add_row(*cells)
        if len(names) > MOST_TASK_TYPES:
            table.add_row(f"… and {len(names) - MOST_TASK_TYPES} more")
        return Group(self.bar, table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
