"""Sums per task type between two logging steps, divided once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from danlu.objectives import ChannelSums, Objective
from danlu.runs import ChannelMetrics


@dataclass
class ChannelTotals:
    """What has been scored since the last logging step.

    Attributes:
        names: The task types, in channel order (K of them).
        objective: Makes numbers of totals.
        totals: float64 ``(K,)`` or ``(K, C)``, on the device: this process's share.
        records: int64 ``(K,)``: records of all processes.
    """

    names: Sequence[str]
    objective: Objective
    totals: dict[str, torch.Tensor] = field(default_factory=dict)
    records: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, sums: ChannelSums) -> None:
        """Add a pack's sums; nothing leaves the device."""
        for name, total in sums.totals.items():
            self.totals[name] = self.totals[name] + total if name in self.totals else total

    def add_records(self, channels: NDArray[np.int64]) -> None:
        """Count the records of a step by their task types."""
        counts = np.bincount(channels, minlength=len(self.names))
        self.records = counts if not len(self.records) else self.records + counts

    def reduce(self, accelerator: Accelerator) -> Reduced:
        """Sum over all processes: the one reduction of a logging step."""
        if not self.totals:
            raise RuntimeError("nothing was scored since the last logging step")
        names = sorted(self.totals)
        joined = torch.cat([self.totals[name].flatten() for name in names])
        summed = accelerator.reduce(joined, reduction="sum").cpu().numpy().astype(np.float64)
        ends = np.cumsum([self.totals[name].numel() for name in names])
        parts = np.split(summed, ends[:-1])
        totals = {
            name: part.reshape(self.totals[name].shape)
            for name, part in zip(names, parts, strict=True)
        }
        return Reduced(tuple(self.names), self.objective, totals, self.records)


@dataclass(frozen=True)
class Reduced:
    """Totals over all processes, as float64 arrays ``(K,)`` or ``(K, C)`` on the host."""

    names: tuple[str, ...]
    objective: Objective
    totals: dict[str, NDArray[np.float64]]
    records: NDArray[np.int64]

    @property
    def loss(self) -> float:
        """The objective's loss over all task types."""
        return float(self._overall()["loss"])

    @property
    def metrics(self) -> dict[str, float]:
        """The objective's other numbers over all task types, where there are any."""
        return _finite(self._overall())

    @property
    def supervised_tokens(self) -> int:
        """Scored tokens."""
        return int(self.totals["tokens"].sum())

    def channels(self) -> dict[str, ChannelMetrics]:
        """Return the numbers of each task type that was seen.

        Example:
            >>> from danlu.objectives import Nll
            >>> totals = {name: np.array([n]) for name, n in [("nats", 3.0), ("weight", 2.0)]}
            >>> reduced = Reduced(
            ...     ("a/b",), Nll(), {**totals, "tokens": np.ones(1)}, np.ones(1, np.int64)
            ... )
            >>> reduced.channels()
            {'a/b': ChannelMetrics(loss=1.5, tokens=1, records=1, metrics={})}
        """
        numbers = self.objective.metrics(self.totals)
        return {
            name: ChannelMetrics(
                loss=float(numbers["loss"][k]),
                tokens=int(self.totals["tokens"][k]),
                records=int(self.records[k]) if len(self.records) else 0,
                metrics=_finite({metric: values[k] for metric, values in numbers.items()}),
            )
            for k, name in enumerate(self.names)
            if np.isfinite(numbers["loss"][k])
        }

    def _overall(self) -> dict[str, NDArray[np.float64]]:
        return self.objective.metrics({name: total.sum(0) for name, total in self.totals.items()})


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Leave out the loss, which has a place of its own, and what could not be divided."""
    return {
        name: float(value)
        for name, value in numbers.items()
        if name != "loss" and np.isfinite(value)
    }
