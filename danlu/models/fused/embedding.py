"""An embedding whose gradient is added to the rows that were looked up.

Autograd makes a tensor as large as the whole matrix for each pack, nearly all of it zeros. Where
gradients are added up in place (``danlu.models.gradients``) the rows alone are touched.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from danlu.models.gradients import adds_in_place, gradient_to_add_to


class _Embed(torch.autograd.Function):
    """Rows of a matrix; keeps their numbers."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight_VD: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.weight, ctx.padding = weight_VD, padding
        return nn.functional.embedding(ids, weight_VD)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        [ids] = ctx.saved_tensors
        rows, grad_rows = ids.flatten(), grad.flatten(0, -2)
        if ctx.padding is not None:  # torch's rule: this row is not trained
            grad_rows = grad_rows * (rows != ctx.padding).unsqueeze(1)
        gradient_to_add_to(ctx.weight).index_add_(0, rows, grad_rows)
        return None, None, None


class FusedEmbedding:
    """The forward of a plain embedding; the layer's own where autograd adds up the gradient."""

    def __init__(self, layer: nn.Embedding) -> None:
        self.layer = layer
        self.own = layer.forward

    @classmethod
    def of(cls, layer: nn.Module) -> FusedEmbedding | None:
        """Make one for an embedding without further treatment of its rows, else None."""
        if type(layer) is not nn.Embedding or layer.max_norm is not None:
            return None
        return None if layer.scale_grad_by_freq or layer.sparse else cls(layer)

    def __call__(self, ids: Tensor) -> Tensor:
        """Look up token ids ``(...)``: ``(..., D)``."""
        weight = self.layer.weight
        if not (torch.is_grad_enabled() and weight.requires_grad and adds_in_place(weight)):
            return self.own(ids)
        result: Tensor = _Embed.apply(  # type: ignore[no-untyped-call]
            ids, weight, self.layer.padding_idx
        )
        return result
