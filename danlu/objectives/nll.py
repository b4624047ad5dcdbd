"""Negative log-likelihood: supervised fine-tuning and pre-training.

    loss = sum_i w_i * -log p(target_i | what predictor_i sees) / sum_i w_i

over all predictions of an optimizer step, whatever pack or device they are on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from danlu.objectives.objective import Floats, Reads, ratio
from danlu.objectives.predictions import ChannelSums, Predictions, sum_by_channel
from danlu.sequences.branch import Branch


@dataclass(frozen=True)
class Nll:
    """Negative log-likelihood; it has no settings, all choices are weights.

    Attributes:
        watched: Tokens whose own nll is told beside the loss, as the metric of that name: the stop
            token, new special tokens. They change nothing in what is learned.
    """

    reads: ClassVar[Reads] = "turns"
    needs_reference: ClassVar[bool] = False
    needs_baseline: ClassVar[bool] = False
    readout: ClassVar[int] = 0
    whole_records: ClassVar[bool] = False

    watched: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return the total weight."""
        return float(sum(branch.weights[1:].sum(dtype=np.float64) for branch in branches))

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
        totals = {
            "nats": sum_by_channel(nll_S * weight_S, channel_S, channels),
            "weight": sum_by_channel(weight_S, channel_S, channels),
            "tokens": predictions.tokens_by_channel(),
        }
        for name, ids in self.watched:
            own_S = (predictions.target == ids[0]).to(nll_S.dtype)
            for other in ids[1:]:
                own_S += predictions.target == other
            totals[f"{name}_nats"] = sum_by_channel(nll_S * own_S, channel_S, channels)
            totals[f"{name}_count"] = sum_by_channel(own_S, channel_S, channels)
        return ChannelSums(nats, totals)

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return the weighted mean nll in nats, and the plain mean of each watched token.

        Example:
            >>> nll = Nll(watched=(("stop_loss", (2,)),))
            >>> totals = {"nats": 6.0, "weight": 3.0, "stop_loss_nats": 1.0, "stop_loss_count": 2.0}
            >>> nll.metrics({name: np.array(value) for name, value in totals.items()})
            {'loss': array(2.), 'stop_loss': array(0.5)}
        """
        found = {"loss": ratio(totals, "nats", "weight")}
        for name, _ in self.watched:
            found[name] = ratio(totals, f"{name}_nats", f"{name}_count")
        return found
