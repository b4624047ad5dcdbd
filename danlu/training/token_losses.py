"""What a model makes of each token of a few branches: its loss, and what it would rather say.

Shapes: P predictions of a pack, T tokens of a branch, V vocabulary, C a chunk of predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from danlu.models.head import OutputHead
from danlu.sequences.branch import Branch
from danlu.training.scoring import Packing, token_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 256
"""Predictions whose logits exist at a time."""


@dataclass(frozen=True, eq=False)
class TokenLosses:
    """One branch, token by token; of the first token, which nothing predicts, NaN and its own id.

    Attributes:
        nats: float32 ``(T,)``: negative log-likelihood of each token after those before it.
        likeliest: int64 ``(T,)``: the token that is likeliest there.
        probability: float32 ``(T,)``: of that one.
    """

    nats: NDArray[np.float32]
    likeliest: NDArray[np.int64]
    probability: NDArray[np.float32]


@torch.no_grad()
def token_losses(
    model: PreTrainedModel, branches: Sequence[Branch], packing: Packing
) -> list[TokenLosses]:
    """Predict every token of every branch, those of prompts too, whatever their weights are.

    Args:
        model: As for ``token_states``.
        branches: Each by itself; what they share is computed once.
        packing: How they are laid out.
    """
    # A weight of 1 makes a token a prediction.
    asked = [replace(one, weights=np.ones(len(one.input_ids), np.float32)) for one in branches]
    found = [_nothing(one) for one in branches]
    head = OutputHead.of(model)
    for pack in packing.packs(asked):
        states_TD = token_states(model, pack)
        predictor, target = (
            torch.from_numpy(array).to(states_TD.device) for array in (pack.predictor, pack.target)
        )
        parts = [
            _judged(head, states_TD[places_C], target_C)
            for places_C, target_C in zip(predictor.split(CHUNK), target.split(CHUNK), strict=True)
        ]
        if not parts:
            continue
        columns = zip(*parts, strict=True)
        nats_P, likeliest_P, best_P = (np.concatenate(column) for column in columns)
        for place, member in enumerate(pack.members.tolist()):
            own_P = pack.branch == place
            # A branch's predictions stand in the order of its tokens, from the second on.
            found[member].nats[1:] = nats_P[own_P]
            found[member].likeliest[1:] = likeliest_P[own_P]
            found[member].probability[1:] = best_P[own_P]
    return found


def _nothing(branch: Branch) -> TokenLosses:
    size = len(branch.input_ids)
    return TokenLosses(
        np.full(size, np.nan, np.float32),
        branch.input_ids.astype(np.int64),
        np.full(size, np.nan, np.float32),
    )


def _judged(
    head: OutputHead, states_CD: torch.Tensor, target_C: torch.Tensor
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    logprobs_CV = head.frozen_logits(states_CD).log_softmax(-1)
    nats_C = -logprobs_CV.gather(1, target_C.unsqueeze(1)).squeeze(1)
    best_C, likeliest_C = logprobs_CV.max(-1)
    return (
        nats_C.float().cpu().numpy(),
        likeliest_C.cpu().numpy(),
        best_C.exp().float().cpu().numpy(),
    )
