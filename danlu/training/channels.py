"""Sums per task type between two logging steps, divided once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from danlu.objectives import ChannelSums
from danlu.runs import ChannelMetrics


@dataclass
class ChannelTotals:
    """What has been scored since the last logging step.

    Attributes:
        names: The task types, in channel order (K of them).
        nats: float64 ``(K,)`` on the device: weighted nll; this process's share.
        weight: Likewise: total weight.
        tokens: Likewise: scored tokens.
        records: int64 ``(K,)``: records of all processes.
    """

    names: Sequence[str]
    nats: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    records: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, sums: ChannelSums) -> None:
        """Add a pack's sums; nothing leaves the device."""
        if self.nats is None or self.weight is None or self.tokens is None:
            self.nats, self.weight, self.tokens = sums.nats, sums.weight, sums.tokens
        else:
            self.nats = self.nats + sums.nats
            self.weight = self.weight + sums.weight
            self.tokens = self.tokens + sums.tokens

    def add_records(self, channels: NDArray[np.int64]) -> None:
        """Count the records of a step by their task types."""
        counts = np.bincount(channels, minlength=len(self.names))
        self.records = counts if not len(self.records) else self.records + counts

    def reduce(self, accelerator: Accelerator) -> Reduced:
        """Sum over all processes: the one reduction of a logging step."""
        if self.nats is None or self.weight is None or self.tokens is None:
            raise RuntimeError("nothing was scored since the last logging step")
        stacked = torch.stack([self.nats, self.weight, self.tokens])
        total = accelerator.reduce(stacked, reduction="sum").cpu().numpy()
        return Reduced(tuple(self.names), total[0], total[1], total[2], self.records)


@dataclass(frozen=True)
class Reduced:
    """Totals over all processes, as float64 arrays ``(K,)`` on the host."""

    names: tuple[str, ...]
    nats: NDArray[np.float64]
    weight: NDArray[np.float64]
    tokens: NDArray[np.float64]
    records: NDArray[np.int64]

    @property
    def loss(self) -> float:
        """Weighted mean nll in nats."""
        return float(self.nats.sum() / self.weight.sum())

    @property
    def supervised_tokens(self) -> int:
        """Scored tokens."""
        return int(self.tokens.sum())

    def channels(self) -> dict[str, ChannelMetrics]:
        """Return the numbers of each task type that was seen.

        Example:
            >>> one = np.ones(1)
            >>> Reduced(("a/b",), 3 * one, 2 * one, 2 * one, np.ones(1, np.int64)).channels()
            {'a/b': ChannelMetrics(loss=1.5, tokens=2, records=1)}
        """
        return {
            name: ChannelMetrics(
                loss=float(self.nats[k] / self.weight[k]),
                tokens=int(self.tokens[k]),
                records=int(self.records[k]) if len(self.records) else 0,
            )
            for k, name in enumerate(self.names)
            if self.weight[k] > 0
        }
