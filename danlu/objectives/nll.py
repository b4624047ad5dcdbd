"""Negative log-likelihood: supervised fine-tuning and pre-training.

    loss = sum_i w_i * -log p(target_i | what predictor_i sees) / sum_i w_i

over all predictions of an optimizer step, whatever pack or device they are on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from danlu.objectives.predictions import ChannelSums, Predictions, sum_by_channel


@dataclass(frozen=True)
class Nll:
    """Negative log-likelihood; it has no settings, all choices are weights."""

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack.

        Args:
            predictions: S predictions; S may be 0.

        Returns:
            Sums, not means: a mean of micro-batch means weighs a token by how few predictions
            share its micro-batch, so the loss would change with accumulation.
        """
        nats, nll_S = predictions.weighted_nll()
        weight_S = predictions.weight
        channel_S, channels = predictions.channel, predictions.channels
        return ChannelSums(
            loss=nats,
            nats=sum_by_channel(nll_S * weight_S, channel_S, channels),
            weight=sum_by_channel(weight_S, channel_S, channels),
            tokens=sum_by_channel(torch.ones_like(weight_S), channel_S, channels),
        )
