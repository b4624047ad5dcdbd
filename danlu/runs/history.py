"""The metrics of a run as columns: read once, a row at a time, however long the run was."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from danlu.runs.schema import MetricsRow, Split


def _column() -> array[float]:
    return array("d")


@dataclass(frozen=True, slots=True)
class Column:
    """One number over steps; rows without it are left out."""

    steps: array[float] = field(default_factory=_column)
    values: array[float] = field(default_factory=_column)

    def add(self, step: int, value: float | None) -> None:
        """Append a point, if there is one."""
        if value is not None:
            self.steps.append(step)
            self.values.append(value)


@dataclass(frozen=True, slots=True)
class Losses:
    """The loss over steps, in all or of one task type, with what it is a mean of."""

    loss: Column = field(default_factory=Column)
    tokens: array[float] = field(default_factory=_column)

    def add(self, step: int, loss: float, tokens: int) -> None:
        """Append a row."""
        self.loss.add(step, loss)
        self.tokens.append(tokens)


@dataclass(slots=True)
class History:
    """All that the report and the summary take from ``metrics.jsonl``.

    A hundred thousand rows of forty task types are four million objects as rows, 2.6 GB, and
    0.1 GB as columns.

    Attributes:
        step: The last step with a row.
        epoch: Passes over the data, as a fraction.
        elapsed_s: Seconds of training.
        unique_tokens: Tokens computed in training.
        records: Records seen in training, per task type.
        losses: Per split, the loss in all.
        task_types: Per split and task type, its loss.
        epochs: Epoch over steps.
        learning_rate: Over steps.
        grad_norm: Over steps.
        tokens_per_second: Over steps.
    """

    step: int = 0
    epoch: float = 0.0
    elapsed_s: float = 0.0
    unique_tokens: int = 0
    records: dict[str, int] = field(default_factory=dict)
    losses: dict[Split, Losses] = field(
        default_factory=lambda: {"train": Losses(), "eval": Losses()}
    )
    task_types: dict[Split, dict[str, Losses]] = field(
        default_factory=lambda: {"train": {}, "eval": {}}
    )
    epochs: Column = field(default_factory=Column)
    learning_rate: Column = field(default_factory=Column)
    grad_norm: Column = field(default_factory=Column)
    tokens_per_second: Column = field(default_factory=Column)

    @classmethod
    def of(cls, rows: Iterable[MetricsRow]) -> Self:
        """Collect rows.

        Example:
            >>> history = History.of([MetricsRow(step=3, epoch=0.5, loss=2.0)])
            >>> history.step, history.losses["train"].loss.values
            (3, array('d', [2.0]))
        """
        history = cls()
        for row in rows:
            history._add(row)
        return history

    def _add(self, row: MetricsRow) -> None:
        self.step = max(self.step, row.step)
        self.epoch = max(self.epoch, row.epoch)
        self.elapsed_s = max(self.elapsed_s, row.elapsed_s)
        self.losses[row.split].add(row.step, row.loss, row.supervised_tokens)
        channels = self.task_types[row.split]
        train = row.split == "train"
        for name, channel in row.channels.items():
            if name not in channels:
                channels[name] = Losses()
            channels[name].add(row.step, channel.loss, channel.tokens)
            self.records[name] = self.records.get(name, 0) + channel.records * train
        if train:
            self.unique_tokens += row.unique_tokens
            self.epochs.add(row.step, row.epoch)
            self.learning_rate.add(row.step, row.learning_rate)
            self.grad_norm.add(row.step, row.grad_norm)
            self.tokens_per_second.add(row.step, row.tokens_per_second)
