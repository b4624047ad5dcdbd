"""Root-mean-square norm (Zhang and Sennrich 2019, arXiv:1910.07467) as one function.

Transformers' computes in float32 in six passes and autograd keeps the input and the normalised
input. Here only the input and one number per row are kept. A model in float64 is normalised in
float64, where transformers' rounds to float32.

Shapes: T rows, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from danlu.models.fused.probe import agrees, sample_like

_EPSILON_NAMES = ("variance_epsilon", "eps")


class _Norm(torch.autograd.Function):
    """``y = w n`` with ``n = x r`` and ``r = (mean(x²) + e)^(-1/2)``.

    With g the gradient of the output: dx = r (w g - n mean(w g n)), dw = g n summed over rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        scale = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, scale, weight)
        normal = (x * scale).to(x.dtype)
        output: Tensor = normal.mul_(weight)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, weight = ctx.saved_tensors
        normal = x * scale
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * normal).flatten(0, -2).sum(0).to(weight.dtype)
        grad_x = None
        if ctx.needs_input_grad[0]:
            weighted = (grad * weight).to(normal.dtype)
            mean = (weighted * normal).mean(-1, keepdim=True)
            grad_x = weighted.sub_(normal.mul_(mean)).mul_(scale).to(x.dtype)
        return grad_x, grad_weight, None


class FusedNorm:
    """The forward of a root-mean-square norm with a weight."""

    def __init__(self, layer: nn.Module, epsilon: float) -> None:
        self.layer = layer
        self.epsilon = epsilon
        self.own = layer.forward

    @classmethod
    def of(cls, layer: nn.Module) -> FusedNorm | None:
        """Make one for a layer that computes this norm, else None."""
        weight = getattr(layer, "weight", None)
        if not type(layer).__name__.endswith("RMSNorm") or not isinstance(weight, nn.Parameter):
            return None
        values = [getattr(layer, name, None) for name in _EPSILON_NAMES]
        epsilon = next((value for value in values if isinstance(value, float)), None)
        if epsilon is None or weight.ndim != 1 or [*layer.parameters()] != [weight]:
            return None
        part = cls(layer, epsilon)
        return part if agrees(part, part.own, sample_like(weight, 3, len(weight))) else None

    def __call__(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """Normalise ``(..., D)``."""
        weight = self.layer.get_parameter("weight")
        if args or options or x.dtype != weight.dtype:
            own: Tensor = self.own(x, *args, **options)
            return own
        result: Tensor = _Norm.apply(x, weight, self.epsilon)  # type: ignore[no-untyped-call]
        return result
