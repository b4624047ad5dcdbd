"""What an objective is given, and what it returns.

Shapes: S predictions, D model width, K channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from danlu.models.head import OutputHead, WeightedNll


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a pack, with the hidden states that make them.

    Attributes:
        hidden_SD: Hidden state of each predictor.
        target: int64 ``(S,)``: the token to be predicted.
        weight: float32 ``(S,)``: its weight in the loss.
        channel: int64 ``(S,)``: index of its task type.
        branch: int64 ``(S,)``: index of its branch in the step.
        channels: How many task types there are.
        head: Turns hidden states into scores.
    """

    hidden_SD: Tensor
    target: Tensor
    weight: Tensor
    channel: Tensor
    branch: Tensor
    channels: int
    head: OutputHead

    def weighted_nll(self) -> WeightedNll:
        """Sum ``weight * nll``; the cheapest way for an objective that is linear in nll."""
        return self.head.weighted_nll(self.hidden_SD, self.target, self.weight)

    def logprobs(self) -> Tensor:
        """Return ``(S,)`` log-probabilities, each differentiable, for any other objective."""
        return self.head.logprobs(self.hidden_SD, self.target)


class ChannelSums(NamedTuple):
    """Sums per channel, kept apart until they are divided once per logging step.

    Attributes:
        loss: ``()``: numerator of the step's loss, differentiable.
        nats: float64 ``(K,)``: weighted nll.
        weight: float64 ``(K,)``: total weight.
        tokens: float64 ``(K,)``: scored tokens.
    """

    loss: Tensor
    nats: Tensor
    weight: Tensor
    tokens: Tensor


def sum_by_channel(values_S: Tensor, channel_S: Tensor, channels: int) -> Tensor:
    """Add up ``values_S`` per channel, in float64 where the device has it.

    Example:
        >>> sum_by_channel(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 0]), 3)
        tensor([5., 0., 2.], dtype=torch.float64)
    """
    dtype = torch.float32 if values_S.device.type == "mps" else torch.float64
    total = torch.zeros(channels, dtype=dtype, device=values_S.device)
    return total.index_add_(0, channel_S, values_S.to(dtype))
