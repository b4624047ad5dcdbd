"""Which records make up which optimizer step: a function of seed and step, nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RecordOrder:
    """The order in which records are learned.

    No state: step n is the same set of records whether the run was interrupted or not, on one
    device or on many.

    Attributes:
        records: How many there are.
        batch_records: Records per optimizer step; the last step of an epoch may have fewer.
        seed: Seeds the permutation of each epoch.
    """

    records: int
    batch_records: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the records."""
        return math.ceil(self.records / self.batch_records)

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
        return _permutation(self.records, self.seed, epoch)[start : start + self.batch_records]


@lru_cache(maxsize=2)
def _permutation(records: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(records)
