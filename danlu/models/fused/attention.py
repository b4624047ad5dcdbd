"""The attention layer of Llama, Qwen and their kin in forest training, with a shorter rotation.

Transformers' rotary embedding takes five passes over queries and keys and four tensors of their
size; written as one function it takes two, keeps nothing, and its backward pass is the rotation by
the opposite angle (Su et al. 2021, arXiv:2104.09864, equation 34).

Shapes: B rows (1 for a forest), T tokens, H heads, D head width, K model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.models.attention import FOREST_ATTENTION, ForestLayout, forest_attention
from danlu.models.fused.probe import agrees, sample_like
from danlu.models.fused.projection import Projection, fitted, projected

_PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj"}
_NORMS = {"q_norm", "k_norm"}
_PROBE_TOKENS = 5


def rotated(x_BTHD: Tensor, cos_BT1D: Tensor, sin_BT1D: Tensor) -> Tensor:
    """Rotate channel i and i + D / 2 of each head, as a plane, by its position's angle.

    Args:
        x_BTHD: Queries or keys.
        cos_BT1D: Cosines; the second half of the channels repeats the first.
        sin_BT1D: Sines, likewise.
    """
    half = x_BTHD.shape[-1] // 2
    output = x_BTHD * cos_BT1D
    output[..., :half].addcmul_(x_BTHD[..., half:], sin_BT1D[..., :half], value=-1)
    output[..., half:].addcmul_(x_BTHD[..., :half], sin_BT1D[..., half:])
    return output


class _Rotate(torch.autograd.Function):
    """``rotated``; keeps the angles only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return rotated(grad, cos, -sin), None, None


class FusedAttention:
    """The forward of an attention layer over a forest pack; the layer's own for everything else."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.own = layer.forward

    @classmethod
    def of(cls, layer: Any) -> FusedAttention | None:
        """Make one for a layer that computes this attention, else None."""
        names = {name for name, _ in layer.named_children()}
        if names not in (_PROJECTIONS, _PROJECTIONS | _NORMS):
            return None
        config = getattr(layer, "config", None)
        if getattr(config, "_attn_implementation", None) != FOREST_ATTENTION:
            return None
        part = cls(layer)
        # The numbers of a quantised layer are whole ones; those of its adapter are not.
        floating = (part for part in layer.q_proj.parameters() if part.is_floating_point())
        if (weight := next(floating, None)) is None:
            return None
        if not isinstance(getattr(layer, "head_dim", None), int) or layer.head_dim % 2:
            return None
        angles = sample_like(weight, 1, _PROBE_TOKENS, layer.head_dim // 2).repeat(1, 1, 2)
        position = (angles.cos(), angles.sin())
        forest = ForestLayout(torch.tensor([5, 5, 4, 4, 5]), weight.device)

        def fused(x: Tensor) -> Tensor:
            return part(x, position_embeddings=position, forest=forest)[0]

        def own(x: Tensor) -> Tensor:
            output: Tensor = part.own(
                x, position_embeddings=position, attention_mask=None, forest=forest
            )[0]
            return output

        x = sample_like(weight, 1, _PROBE_TOKENS, int(layer.q_proj.in_features))
        return part if agrees(fused, own, x) else None

    def projections(self, hidden_states: Tensor) -> Sequence[Tensor]:
        """Return queries, keys and values, all heads side by side."""
        layers = (self.layer.q_proj, self.layer.k_proj, self.layer.v_proj)
        fits = (fitted(hidden_states, Projection.of(layer)) for layer in layers)
        found = [one for one in fits if one is not None]
        if len(found) == len(layers):
            return projected(hidden_states.to(found[0].weight.dtype), found)
        return [layer(hidden_states) for layer in layers]

    def __call__(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: object = None,
        forest: ForestLayout | None = None,
        **options: Any,
    ) -> tuple[Tensor, Any]:
        """Attend, as transformers calls a layer.

        Args:
            hidden_states: ``(1, T, K)``.
            position_embeddings: Cosines and sines, ``(1, T, D)`` each.
            attention_mask: None in forest training.
            past_key_values: None in training.
            forest: The pack's layout; without one the layer's own forward is called.
            options: Whatever else the model passes.

        Returns:
            ``(1, T, K)``, and what the layer returns in place of attention weights.
        """
        layer = self.layer
        if (
            forest is None
            or position_embeddings is None
            or past_key_values is not None
            or layer.config._attn_implementation != FOREST_ATTENTION
        ):
            extra = {} if forest is None else {"forest": forest}
            own: tuple[Tensor, Any] = self.own(
                hidden_states,
                position_embeddings=position_embeddings,
                attention_mask=attention_mask,
                past_key_values=past_key_values,
                **extra,
                **options,
            )
            return own
        shape = (*hidden_states.shape[:-1], -1, layer.head_dim)
        query, key, value = (part.view(shape) for part in self.projections(hidden_states))
        if hasattr(layer, "q_norm"):
            query, key = layer.q_norm(query), layer.k_norm(key)
        cos, sin = (part.unsqueeze(2).to(query.dtype) for part in position_embeddings)
        query, key = (
            _Rotate.apply(part, cos, sin)  # type: ignore[no-untyped-call]
            for part in (query, key)
        )
        output, weights = forest_attention(
            layer,
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attention_mask,
            scaling=layer.scaling,
            dropout=layer.attention_dropout if layer.training else 0.0,
            forest=forest,
            sliding_window=getattr(layer, "sliding_window", None),
        )
        return layer.o_proj(output.flatten(2)), weights
