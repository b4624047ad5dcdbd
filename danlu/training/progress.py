"""What a person sees while training: a bar with ETA and speed, and numbers per task type.

The numbers are the loss and, of an objective that reports them, accuracy, margin and their like.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from danlu.runs import MetricsRow, Split
from danlu.runs.wording import headlines, metric

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_EVERY_S = 10.0
"""Without a terminal, a line at most this often."""
MOST_TASK_TYPES = 12
ALL = "all"


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
        self.numbers: dict[Split, dict[str, dict[str, float]]] = {"train": {}, "eval": {}}
        self.overall: dict[Split, dict[str, float]] = {"train": {}, "eval": {}}
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
        # A number that a row lacks stays as it was last: a step may have no answer of its kind.
        self.overall[row.split].update({**row.metrics, "loss": row.loss})
        for name, channel in row.channels.items():
            told = self.numbers[row.split].setdefault(name, {})
            told.update({**channel.metrics, "loss": channel.loss})
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
            _told(name, channel.loss, channel.metrics)
            for name, channel in list(row.channels.items())[:4]
        )
        more = f"  (+{len(row.channels) - 4} more)" if len(row.channels) > 4 else ""
        where = f"step {row.step}/{self.total_steps}  epoch {row.epoch:.2f}"
        metrics = "".join(f"  {name} {row.metrics[name]:.3f}" for name in headlines(row.metrics))
        return f"{where}  {kind}loss {row.loss:.3f}{metrics}{speed}  | {parts}{more}"

    def render(self) -> RenderableType:
        """Return the bar, and a line per task type below it."""
        from rich.console import Group
        from rich.table import Table

        columns = self._columns()
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(columns))
        table.add_column("task type", style="dim", no_wrap=True, vertical="bottom")
        for split, number in columns:
            title = number if number == "loss" else metric(number, "").title.lower()
            table.add_column(
                f"eval {title}" if split == "eval" else title, justify="right", vertical="bottom"
            )
        names = sorted({*self.numbers["train"], *self.numbers["eval"]})
        for name in names[:MOST_TASK_TYPES]:
            rows = {split: of_type.get(name, {}) for split, of_type in self.numbers.items()}
            table.add_row(name, *(_number(rows[split].get(number)) for split, number in columns))
        if len(names) > MOST_TASK_TYPES:
            table.add_row(f"… and {len(names) - MOST_TASK_TYPES} more")
        if len(names) > 1:
            cells = (_number(self.overall[split].get(number)) for split, number in columns)
            table.add_row(ALL, *cells, style="bold")
        return Group(self.bar, table)

    def _columns(self) -> list[tuple[Split, str]]:
        """Return what has a column: each number with its evaluation beside it."""
        told = {**self.overall["train"], **self.overall["eval"]}
        found: list[tuple[Split, str]] = []
        for number in ["loss", *headlines(told)]:
            splits: tuple[Split, Split] = ("train", "eval")
            found += [(split, number) for split in splits if number in self.overall[split]]
        return found


def _told(name: str, loss: float, metrics: Mapping[str, float]) -> str:
    """Write the numbers of one task type in a line.

    Example:
        >>> _told("a/b", 0.5, {"margin": 0.25, "accuracy": 1.0})
        'a/b 0.500 (accuracy 1.000, margin 0.250)'
    """
    beside = ", ".join(f"{name} {metrics[name]:.3f}" for name in headlines(metrics))
    return f"{name} {loss:.3f} ({beside})" if beside else f"{name} {loss:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
