"""A model and an objective as one module: packs go in, sums per channel come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from danlu.models.attention import ForestLayout
from danlu.models.head import OutputHead
from danlu.objectives import ChannelSums, Nll, Predictions
from danlu.sequences.branch import Branch
from danlu.sequences.forest import Pack, build_packs, build_rows


@dataclass(frozen=True)
class Packing:
    """How the branches of a step are laid out.

    Attributes:
        pack_tokens: Most unique tokens (forest) or cells (rows) computed at a time.
        forest: Merge branches; else padded rows.
    """

    pack_tokens: int
    forest: bool = True

    def packs(self, branches: Sequence[Branch], parts: int = 1) -> list[Pack]:
        """Cut a step's branches into packs, at least ``parts`` where possible."""
        if self.forest:
            return build_packs(branches, self.pack_tokens, parts=parts)
        return build_rows(branches, self.pack_tokens)


class ScoringModel(nn.Module):
    """A causal language model that scores packs.

    Wrapping model and objective together lets data-parallel engines see one forward per pack.

    Args:
        model: The tuned model; a PEFT model or a plain one.
        objective: Makes a loss of scored predictions.
        channels: How many task types there are.
    """

    def __init__(self, model: PreTrainedModel, objective: Nll, channels: int) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.channels = channels

    def forward(self, pack: Pack) -> ChannelSums:
        """Compute a pack and its sums, on the model's device."""
        model: Any = self.model
        base = model.get_base_model() if hasattr(model, "peft_config") else model
        head = OutputHead.of(base)
        device = base.device
        hidden_SD = predictor_states(base, pack)
        return self.objective.sums(
            Predictions(
                hidden_SD=hidden_SD,
                target=torch.from_numpy(pack.target).to(device),
                weight=torch.from_numpy(pack.weight).to(device),
                channel=torch.from_numpy(pack.channel).to(device),
                branch=torch.from_numpy(pack.branch).to(device),
                channels=self.channels,
                head=head,
            )
        )


def predictor_states(model: PreTrainedModel, pack: Pack) -> Tensor:
    """Run the decoder over a pack.

    Args:
        model: A causal language model; with ``FOREST_ATTENTION`` set for a forest pack.
        pack: A forest, or padded rows.

    Returns:
        ``(P, D)``: the hidden state of each predictor.
    """
    device = model.device
    input_ids = torch.from_numpy(pack.input_ids).to(device)
    position_ids = torch.from_numpy(pack.position_ids).to(device)
    if pack.row_lengths is None:
        layout = ForestLayout(torch.from_numpy(pack.visible_until), device)
        states = model.get_decoder()(
            input_ids=input_ids[None],
            position_ids=position_ids[None],
            use_cache=False,
            forest=layout,
        ).last_hidden_state[0]
    else:
        lengths = torch.from_numpy(pack.row_lengths).to(device)
        mask = torch.arange(input_ids.shape[1], device=device)[None] < lengths[:, None]
        states = model.get_decoder()(
            input_ids=input_ids, attention_mask=mask.long(), use_cache=False
        ).last_hidden_state.flatten(0, 1)
    chosen: Tensor = states[torch.from_numpy(pack.predictor).to(device)]
    return chosen
