"""Root-mean-square norm (Zhang and Sennrich 2019, arXiv:1910.07467) as one function.

Transformers' computes in float32 in six passes and autograd keeps the input and the normalised
input. Here only the input and one number per row are kept. A model in float64 is normalised in
float64, where transformers' rounds to float32.

What is normalised is read by projections, whose weights' gradients need it once more. They keep the
norm's input too, which lies in memory anyway, and make it anew from that.

Shapes: T rows, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from danlu.models.fused.probe import agrees, sample_like

_EPSILON_NAMES = ("variance_epsilon", "eps")


_ORIGIN = "_danlu_normed"


def normed(x: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """Return ``w x r``; the same bits each time.

    Args:
        x: ``(..., D)``.
        scale: r of each row, ``(..., 1)``.
        weight: w, ``(D,)``.
    """
    return (x * scale).to(x.dtype).mul_(weight)


class Remade:
    """A norm's output, made anew in a backward pass for the functions that read it.

    The first one to run makes it, the last one lets it go.
    """

    def __init__(self) -> None:
        self.readers = 0
        self._output: Tensor | None = None

    def read(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the output, made of the tensors that the reader kept."""
        output, self._output = self._output, None
        if output is None:
            output = normed(*tensors)
        self.readers -= 1
        if self.readers > 0:
            self._output = output
        return output


class Origin(NamedTuple):
    """What a norm's output was made of.

    Attributes:
        tensors: The arguments of ``normed``, to be kept in place of the output.
        remade: Shared by all that read it.
    """

    tensors: tuple[Tensor, Tensor, Tensor]
    remade: Remade

    @classmethod
    def of(cls, output: Tensor) -> Origin | None:
        """Return that of a fused norm's output, None for another tensor."""
        found: Origin | None = getattr(output, _ORIGIN, None)
        return found


class _Norm(torch.autograd.Function):
    """``y = w n`` with ``n = x r`` and ``r = (mean(x²) + e)^(-1/2)``.

    With g the gradient of the output: dx = r (w g - n mean(w g n)), dw = g n summed over rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        scale = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, scale, weight)
        ctx.mark_non_differentiable(scale)
        return normed(x, scale, weight), scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
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
        result, scale = _Norm.apply(x, weight, self.epsilon)  # type: ignore[no-untyped-call]
        setattr(result, _ORIGIN, Origin((x.detach(), scale, weight), Remade()))
        output: Tensor = result
        return output
