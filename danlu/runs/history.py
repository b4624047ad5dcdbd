"""The metrics of a run as columns: read once, a row at a time, however long the run was."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from danlu.runs.schema import MetricsRow, Split


def _column() -> array[float]:
    return array("d")


@dataclass(frozen=True, slots=True)
class Column:
    """One number over steps; rows without it are left out.

    Attributes:
        steps: Ascending.
        values: As many.
        tokens: Supervised tokens behind each value; empty where nobody asks.
        records: Records behind each value, likewise.
    """

    steps: array[float] = field(default_factory=_column)
    values: array[float] = field(default_factory=_column)
    tokens: array[float] = field(default_factory=_column)
    records: array[float] = field(default_factory=_column)

    def add(self, step: int, value: float | None) -> None:
        """Append a point, if there is one."""
        if value is not None:
            self.steps.append(step)
            self.values.append(value)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The loss and the objective's metrics over steps, in all or of one task type.

    Attributes:
        steps: One per row.
        tokens: Supervised tokens of each row.
        records: Records of each row.
        values: By name, ``loss`` among them; NaN in a row that lacks this number.
    """

    steps: array[float] = field(default_factory=_column)
    tokens: array[float] = field(default_factory=_column)
    records: array[float] = field(default_factory=_column)
    values: dict[str, array[float]] = field(default_factory=dict)

    def add(self, step: int, tokens: int, records: int, numbers: Mapping[str, float]) -> None:
        """Append a row."""
        rows = len(self.steps)
        self.steps.append(step)
        self.tokens.append(tokens)
        self.records.append(records)
        for name, value in numbers.items():
            if name not in self.values:
                self.values[name] = array("d", [math.nan]) * rows
            self.values[name].append(value)
        for column in self.values.values():
            if len(column) == rows:
                column.append(math.nan)

    def column(self, name: str) -> Column:
        """Return one number of the rows that have it, with what stands behind each value.

        Example:
            >>> numbers = Numbers()
            >>> numbers.add(1, 9, 2, {"loss": 2.0})
            >>> numbers.add(2, 8, 2, {"loss": 1.5, "margin": 0.5})
            >>> numbers.column("margin").steps
            array('d', [2.0])
        """
        values = self.values.get(name)
        if values is None:
            return Column()
        # Rows are finite, so their sum is NaN only where a row lacks the number.
        if not math.isnan(sum(values)):
            return Column(self.steps, values, self.tokens, self.records)
        rows = [index for index, value in enumerate(values) if not math.isnan(value)]
        return Column(
            *(
                array("d", (column[index] for index in rows))
                for column in (self.steps, values, self.tokens, self.records)
            )
        )


@dataclass(slots=True)
class History:
    """All that the report and the summary take from ``metrics.jsonl``.

    A hundred thousand rows of forty task types are four million objects as rows, 2.6 GB, and
    0.13 GB as columns; each metric adds 0.03 GB.

    Attributes:
        step: The last step with a row.
        epoch: Passes over the data, as a fraction.
        elapsed_s: Seconds of training.
        unique_tokens: Tokens computed in training.
        records: Records seen in training, per task type.
        overall: Per split, loss and metrics in all.
        task_types: Per split and task type, its loss and metrics.
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
    overall: dict[Split, Numbers] = field(
        default_factory=lambda: {"train": Numbers(), "eval": Numbers()}
    )
    task_types: dict[Split, dict[str, Numbers]] = field(
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
            >>> history.step, history.overall["train"].values
            (3, {'loss': array('d', [2.0])})
        """
        history = cls()
        for row in rows:
            history.add(row)
        return history

    def add(self, row: MetricsRow) -> None:
        """Append a row."""
        self.step = max(self.step, row.step)
        self.epoch = max(self.epoch, row.epoch)
        self.elapsed_s = max(self.elapsed_s, row.elapsed_s)
        records = sum(channel.records for channel in row.channels.values())
        numbers = {**row.metrics, "loss": row.loss}
        self.overall[row.split].add(row.step, row.supervised_tokens, records, numbers)
        channels = self.task_types[row.split]
        train = row.split == "train"
        for name, channel in row.channels.items():
            if name not in channels:
                channels[name] = Numbers()
            numbers = {**channel.metrics, "loss": channel.loss}
            channels[name].add(row.step, channel.tokens, channel.records, numbers)
            self.records[name] = self.records.get(name, 0) + channel.records * train
        if train:
            self.unique_tokens += row.unique_tokens
            self.epochs.add(row.step, row.epoch)
            self.learning_rate.add(row.step, row.learning_rate)
            self.grad_norm.add(row.step, row.grad_norm)
            self.tokens_per_second.add(row.step, row.tokens_per_second)
