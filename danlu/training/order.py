"""Which records make up which optimizer step: a function of seed and step, nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from danlu.workshop.operations.marks import marks_of_places
from danlu.workshop.operations.shares import take


@dataclass(frozen=True, eq=False)
class Draw:
    """Which records an epoch takes, and how often: those of some groups more than those of others.

    Attributes:
        group: ``(R,)``: the group of each record.
        times: ``(G,)``: how often the records of each group are taken, in the mean.
        seed: Of the draw.
    """

    group: NDArray[np.int64]
    times: NDArray[np.float64]
    seed: int

    @cached_property
    def size(self) -> int:
        """How many records an epoch has, repeats and all; the same for each epoch."""
        return len(self.epoch(0))

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of the records of an epoch, rising.

        Example:
            >>> Draw(np.array([0, 0, 1]), np.array([0.0, 2.0]), seed=0).epoch(3).tolist()
            [2, 2]
        """
        count = len(self.group)
        marks = marks_of_places(count, self.seed, epoch)
        return np.repeat(np.arange(count), take(self.times, self.group, np.ones(count), marks))


@dataclass(frozen=True)
class RecordOrder:
    """The order in which records are learned.

    No state: step n is the same set of records whether the run was interrupted or not, on one
    device or on many.

    Attributes:
        records: How many there are.
        batch_records: Records per optimizer step; the last step of an epoch may have fewer.
        seed: Seeds the permutation of each epoch.
        draw: What an epoch takes; None takes every record once.
    """

    records: int
    batch_records: int
    seed: int
    draw: Draw | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the records, or over what is drawn of them."""
        size = self.records if self.draw is None else self.draw.size
        return math.ceil(size / self.batch_records)

    def total_steps(self, epochs: float, max_steps: int | None) -> int:
        """Return the number of optimizer steps for a fractional number of epochs.

        Example:
            >>> RecordOrder(10, 4, 0).total_steps(2.5, None)
            8
        """
        steps = max(1, math.ceil(self.steps_per_epoch * epochs - 1e-9))
        return steps if max_steps is None else min(steps, max_steps)

    def step(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the records of a step, counted from 0.

        Example:
            >>> order = RecordOrder(3, 2, seed=0)
            >>> sorted([*order.step(0), *order.step(1)]), len(order.step(1))
            ([np.int64(0), np.int64(1), np.int64(2)], 1)
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        start = place * self.batch_records
        order = _permutation(self.records, self.seed, epoch, self.draw)
        return order[start : start + self.batch_records]


@lru_cache(maxsize=2)
def _permutation(records: int, seed: int, epoch: int, draw: Draw | None) -> NDArray[np.int64]:
    shuffle = np.random.default_rng([seed, epoch])
    return shuffle.permutation(records if draw is None else draw.epoch(epoch))
