"""Distillation on the forest: every trained token is compared with what a teacher says there.

    loss = sum_i w_i [(1 - nll_weight) T^2 KL_i + nll_weight nll_i] / sum_i w_i

over all predictions of an optimizer step; see ``danlu.objectives.distil``. The logits of neither
model exist for more than a chunk of a pack.

Shapes: S predictions, C a chunk of them, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from danlu.models.chunked import summed_loss
from danlu.objectives.distil import Distil
from danlu.objectives.objective import Floats, Reads, ratio
from danlu.objectives.predictions import ChannelSums, Predictions, sum_by_channel
from danlu.sequences.branch import Branch


@dataclass(frozen=True)
class Imitation:
    """A divergence from a teacher, mixed with nll.

    Attributes:
        distil: The loss of a prediction.
    """

    reads: ClassVar[Reads] = "turns"
    needs_reference: ClassVar[bool] = False
    needs_baseline: ClassVar[bool] = False
    readout: ClassVar[int] = 0
    whole_records: ClassVar[bool] = False

    distil: Distil

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return the total weight."""
        return float(sum(branch.weights[1:].sum(dtype=np.float64) for branch in branches))

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack; S may be 0, as in the pack of a process that has no share.

        Raises:
            ValueError: If predictions come without a teacher.
        """
        p = predictions
        if p.teacher is None:
            raise ValueError("distillation needs what a teacher says of each prediction")
        teacher = p.teacher

        def score(logits_CV: Tensor, part: slice) -> tuple[Tensor, Tensor]:
            sums = self.distil.sums(
                logits_CV,
                teacher.of(part),
                p.target[part],
                p.weight[part],
                vocabulary=teacher.vocabulary,
            )
            return sums.loss, torch.stack([sums.divergence_C, sums.nll_C])

        loss, (divergence_S, nll_S) = summed_loss(p.token_head, p.hidden_SD, score)

        def total(values_S: Tensor) -> Tensor:
            return sum_by_channel(values_S * p.weight, p.channel, p.channels)

        return ChannelSums(
            loss,
            {
                "loss": total(self.distil.mixed(divergence_S, nll_S)),
                "divergence": total(divergence_S),
                "nats": total(nll_S),
                "weight": total(torch.ones_like(nll_S)),
                "tokens": p.tokens_by_channel(),
            },
        )

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return weighted means per token: loss, divergence at the temperature, nll, perplexity.

        Example:
            >>> totals = {"loss": 3.0, "divergence": 2.0, "nats": 4.0, "weight": 4.0}
            >>> Imitation(Distil()).metrics({k: np.array(v) for k, v in totals.items()})["nll"]
            array(1.)
        """
        nll = ratio(totals, "nats", "weight")
        with np.errstate(over="ignore"):  # what is infinite is left out of the report
            perplexity = np.exp(nll)
        return {
            "loss": ratio(totals, "loss", "weight"),
            "divergence": ratio(totals, "divergence", "weight"),
            "perplexity": perplexity,
            "nll": nll,
        }
