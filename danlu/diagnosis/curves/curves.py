"""The curves of a run, read once: what every detector is given.

Shapes: N rows of ``metrics.jsonl``, E epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.diagnosis.curves.statistics import Floats, block_means, mean
from danlu.runs import History
from danlu.runs.figures import TOKEN_OBJECTIVES
from danlu.runs.history import Numbers

Ints = NDArray[np.int64]

MOST_BLOCKS = 240
"""Tests that compare all pairs are made on so many stretches of a long curve."""
FALSE_ALARMS = 1e-3
"""Of a sound run: the chance that any of its curves is called by one sign with high confidence,
shared out over the curves that are tested."""
START_RECORDS = 8
"""The start is a mean over so many records, if three rows have them; few may be easy by chance."""
EDGE_ROWS = 10
"""The level at the end is a mean over at most so many rows, and over 5 % of them."""


@dataclass(frozen=True, eq=False)
class Series:
    """One loss over steps: of all records, or of one task type.

    Attributes:
        task_type: None for all.
        steps: ``(N,)``: the last step of each row, rising.
        values: ``(N,)``: losses.
        weights: ``(N,)``: what stands behind each value: tokens, or records where the loss is a
            mean over records.
        records: ``(N,)``: records behind each value.
        epochs: ``(N,)``: the epoch each row lies in, from 0.
        complete: How many epochs are complete.
        exact: Whether the mean over an epoch is over the same records in each epoch, so that what
            it changes by is learning and not chance.
    """

    task_type: str | None
    steps: Floats
    values: Floats
    weights: Floats
    records: Floats
    epochs: Ints
    complete: int = 0
    exact: bool = False

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.steps)

    @property
    def named(self) -> str:
        """As a sentence names it."""
        return f"the loss of {self.task_type}" if self.task_type else "the loss"

    @cached_property
    def start_rows(self) -> int:
        """How many rows are the start: one to three, as many as have a few records."""
        enough = np.flatnonzero(np.cumsum(self.records[:3]) >= START_RECORDS)
        return int(enough[0]) + 1 if len(enough) else min(3, len(self))

    @cached_property
    def start(self) -> float:
        """The level before anything was learned: the first rows, while the rate warms up."""
        return self._mean(slice(0, self.start_rows))

    @cached_property
    def end(self) -> float:
        """The level of the last rows."""
        return self._mean(slice(-max(1, min(EDGE_ROWS, max(3, len(self) // 20))), None))

    @cached_property
    def epoch_means(self) -> Floats:
        """The mean of each complete epoch, ``(E,)``; one that this type was not in repeats."""
        found: list[float] = []
        for epoch in range(self.complete):
            own = self.epochs == epoch
            if own.any():
                found.append(mean(self.values[own], self.weights[own]))
            elif found:
                found.append(found[-1])
        return np.array(found)

    def blocked(self, most: int = MOST_BLOCKS) -> Series:
        """Return the series with at most ``most`` rows, each the mean of a stretch of rows."""
        if len(self) <= most:
            return self
        edges = np.linspace(0, len(self), most + 1).round().astype(int)[:-1]
        last = np.append(edges[1:], len(self)) - 1
        return Series(
            self.task_type,
            self.steps[last],
            block_means(self.values, np.maximum(self.weights, 1e-9), most),
            np.add.reduceat(self.weights, edges),
            np.add.reduceat(self.records, edges),
            self.epochs[last],
            self.complete,
            self.exact,
        )

    def _mean(self, part: slice) -> float:
        return mean(self.values[part], self.weights[part])


@dataclass(frozen=True, eq=False)
class RunCurves:
    """All curves of a run, and the settings that say what is to be expected of them.

    Attributes:
        train: The loss in all under None, and of each task type under its name.
        eval: The same of held-out records; empty without an evaluation.
        metrics: What else is told of training: by name of the metric, then as ``train``.
        gradient_steps: ``(N,)``: steps whose gradient norm is known.
        gradient_norms: ``(N,)``: before clipping.
        steps_per_epoch: Optimizer steps in an epoch.
        objective: What is minimised.
        settings: The resolved recipe; empty if the run has none yet.
        finished: Whether training is over; if not, nothing is said of how it ends.
        parameters: How many the model has; None if unknown.
        records_of: Ids of the records of a step, counted from 1; empty where that is not known.
        looks: How often the growing curves are looked at; false alarms are shared out over all.
    """

    train: Mapping[str | None, Series]
    eval: Mapping[str | None, Series]
    metrics: Mapping[str, Mapping[str | None, Series]]
    gradient_steps: Floats
    gradient_norms: Floats
    steps_per_epoch: int
    objective: str = "nll"
    settings: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = True
    parameters: int | None = None
    records_of: Callable[[int], Sequence[str]] = field(default=lambda step: ())
    looks: int = 1

    @classmethod
    def of(cls, history: History, settings: Mapping[str, Any], **known: Any) -> RunCurves:
        """Read the curves from a run's history and its resolved recipe."""
        objective = str(settings.get("objective", {}).get("name", "nll"))
        read = _Reader(history, settings, objective)
        names = sorted({name for one in read.numbers("train").values() for name in one.values})
        return cls(
            train=read.series("train", "loss"),
            eval=read.series("eval", "loss"),
            metrics={name: read.series("train", name) for name in names if name != "loss"},
            gradient_steps=np.array(history.grad_norm.steps),
            gradient_norms=np.array(history.grad_norm.values),
            steps_per_epoch=read.steps_per_epoch,
            objective=objective,
            settings=settings,
            **known,
        )

    @property
    def whole(self) -> Series:
        """The training loss in all."""
        return self.train[None]

    @property
    def types(self) -> list[Series]:
        """The training loss of each task type; none where there is only one."""
        found = [one for name, one in self.train.items() if name is not None]
        return found if len(found) > 1 else []

    @cached_property
    def steadied(self) -> Series:
        """The training loss in all, without the noise of which task types a batch happens to have.

        Each row's task types are held against their own means over the run; what they differ by is
        added to the mean in all.
        """
        whole, types = self.whole, self.types
        weighting = self.settings.get("sequences", {}).get("weighting", "token")
        if not types or weighting == "task_type":
            return whole
        place = {step: row for row, step in enumerate(whole.steps.tolist())}
        sums, weights = np.zeros(len(whole)), np.zeros(len(whole))
        for one in types:
            rows = np.array([place[step] for step in one.steps.tolist()], int)
            sums[rows] += one.weights * (one.values - mean(one.values, one.weights))
            weights[rows] += one.weights
        values = mean(whole.values, whole.weights) + sums / np.maximum(weights, 1e-9)
        columns = (whole.weights, whole.records, whole.epochs, whole.complete, whole.exact)
        return Series(None, whole.steps, values, *columns)

    @property
    def of_tokens(self) -> bool:
        """Whether the loss is in nats per token, so that its height means something."""
        return self.objective == "nll"

    @property
    def learning_rate(self) -> float | None:
        """The peak of the schedule; None if unknown."""
        rate = self.settings.get("training", {}).get("learning_rate")
        return float(rate) if rate else None

    def limit(self, tests: int = 1) -> float:
        """Return how many standard deviations make a finding sure, over all curves and tests."""
        return NormalDist().inv_cdf(1 - FALSE_ALARMS / (tests * self.looks * (len(self.types) + 1)))


@dataclass(frozen=True, eq=False)
class _Reader:
    """Makes series of a history's columns."""

    history: History
    settings: Mapping[str, Any]
    objective: str

    @cached_property
    def steps_per_epoch(self) -> int:
        epochs = self.history.epochs
        if not epochs.steps or not epochs.values[-1]:
            return 1
        return max(1, round(epochs.steps[-1] / epochs.values[-1]))

    def numbers(self, split: Any) -> dict[str | None, Numbers]:
        found: dict[str | None, Numbers] = {None: self.history.overall[split]}
        found.update(self.history.task_types[split])
        return found

    def series(self, split: Any, name: str) -> dict[str | None, Series]:
        found = {}
        for task_type, numbers in self.numbers(split).items():
            column = numbers.column(name)
            if column.steps:
                found[task_type] = self._one(task_type, column, split)
        return found

    def _one(self, task_type: str | None, column: Any, split: Any) -> Series:
        steps, size = np.array(column.steps), self.steps_per_epoch
        weighting = self.settings.get("sequences", {}).get("weighting", "token")
        by_token = self.objective in TOKEN_OBJECTIVES and weighting not in ("record", "turn")
        rows = np.array(self.history.overall["train"].steps)
        every = float(rows[0]) if len(rows) else 1.0
        return Series(
            task_type,
            steps,
            np.array(column.values),
            np.array(column.tokens if by_token else column.records, float),
            np.array(column.records, float),
            np.maximum(0, np.ceil(steps / size).astype(np.int64) - 1),
            complete=int(rows[-1] // size) if split == "train" and len(rows) else 0,
            exact=size % every == 0
            and not self.settings.get("data", {}).get("mix", {}).get("targets"),
        )
