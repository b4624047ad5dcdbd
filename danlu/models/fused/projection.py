"""Linear layers with faster products, and LoRA layers in fewer passes.

PEFT adds ``scaling * B(A(x))`` to the frozen layer's output in two passes over a tensor as wide as
that output, and autograd keeps the parts. Written as one function, the product is accumulated in
place of the output, and only the input and ``A(x)`` are kept.

Shapes: T rows, K inputs, N outputs, R rank.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from danlu.models.fused.norm import Origin
from danlu.models.gradients import add_to_gradient, adds_in_place
from danlu.models.products import product, takes_onednn

Tensors = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]


class Projection(NamedTuple):
    """``y = x W' + b + s (x A') B'``; Hu et al. 2021, arXiv:2106.09685, equation 3.

    Attributes:
        weight: W, ``(N, K)``; frozen where there is an adapter.
        bias: b, ``(N,)``, or None.
        lora_a: A, ``(R, K)``, or None without an adapter.
        lora_b: B, ``(N, R)``, or None.
        scale: s.
    """

    weight: Tensor
    bias: Tensor | None
    lora_a: Tensor | None
    lora_b: Tensor | None
    scale: float

    @classmethod
    def of(cls, layer: nn.Module) -> Projection | None:
        """Read a linear layer or a plain LoRA layer as it is now; None if it is neither.

        Plain is: one adapter, switched on, without variant (DoRA ...), dropout or bias of its own,
        over a frozen ``nn.Linear``.
        """
        if type(layer) is nn.Linear:
            return cls(layer.weight, layer.bias, None, None, 1.0)
        if not _is_lora(layer) or not _is_plain(layer):
            return None
        adapted: Any = layer
        name, base = adapted.active_adapters[0], adapted.get_base_layer()
        lora_a, lora_b = adapted.lora_A[name].weight, adapted.lora_B[name].weight
        return cls(base.weight, base.bias, lora_a, lora_b, adapted.scaling[name])

    @property
    def tensors(self) -> Tensors:
        """Everything but the scale, as autograd takes and keeps it."""
        return self[:4]

    def to(self, dtype: torch.dtype) -> Projection:
        """Return it in another number format, differentiably."""
        tensors = (None if part is None else part.to(dtype) for part in self.tensors)
        return Projection._make((*tensors, self.scale))

    def forward(self, x_TK: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return ``y`` ``(T, N)`` and ``x A'`` ``(T, R)``, which backward asks for."""
        output = product(x_TK, self.weight)
        if self.bias is not None:
            output += self.bias
        if self.lora_a is None or self.lora_b is None:
            return output, None
        inner = product(x_TK, self.lora_a)
        return output.addmm_(inner, self.lora_b.T, alpha=self.scale), inner

    def backward(
        self, grad_TN: Tensor, x_TK: Tensor, inner_TR: Tensor | None, wanted: Wanted
    ) -> ProjectionGradients:
        """Return the gradients that are wanted; that of a weight that adds in place is added.

        With g that of the output and u = x A': dx = g W + s (g B) A, dW = g' x, db = g' 1,
        dA = s (g B)' x, dB = s g' u.
        """
        grad_x = product(grad_TN, self.weight.T) if wanted.x else None
        grad_weight = None
        if wanted.weight and adds_in_place(self.weight):
            add_to_gradient(self.weight, grad_TN, x_TK)
        elif wanted.weight:
            grad_weight = product(grad_TN.T, x_TK.T)
        grad_bias = grad_TN.sum(0) if wanted.bias else None
        grad_a = grad_b = None
        if self.lora_a is not None and self.lora_b is not None and inner_TR is not None:
            grad_inner = product(grad_TN, self.lora_b.T).mul_(self.scale)
            if grad_x is not None:
                grad_x.addmm_(grad_inner, self.lora_a)
            # The narrow side goes first: it is copied to be contiguous, the other read as it lies.
            if wanted.lora_a:
                grad_a = product(grad_inner.T, x_TK.T)
            if wanted.lora_b:
                grad_b = product(inner_TR.T, grad_TN.T).mul_(self.scale).T
        return ProjectionGradients(grad_x, grad_weight, grad_bias, grad_a, grad_b)


class Wanted(NamedTuple):
    """Which gradients autograd asks for."""

    x: bool
    weight: bool
    bias: bool
    lora_a: bool
    lora_b: bool


class ProjectionGradients(NamedTuple):
    """Gradients of a projection's input and of its tensors; None where none was wanted."""

    x: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    lora_a: Tensor | None
    lora_b: Tensor | None


def kept_input(ctx: Any, x: Tensor, origin: Origin | None) -> tuple[Tensor, ...]:
    """Return what a backward pass needs to read ``x``: itself, or what a norm made it of."""
    ctx.remade = None
    if origin is None:
        return (x,)
    ctx.remade = origin.remade
    ctx.remade.readers += 1
    return origin.tensors


def read_input(ctx: Any, kept: Sequence[Tensor]) -> Tensor:
    """Return the input whose ``kept_input`` this is, ``(T, K)``."""
    x = kept[0] if ctx.remade is None else ctx.remade.read(kept)
    return x.flatten(0, -2)


class _Project(torch.autograd.Function):
    """A projection in autograd: keeps ``x`` and ``x A'``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, origin: Origin | None, scale: float, *tensors: *Tensors
    ) -> Tensor:
        output, inner = Projection(*tensors, scale).forward(x.flatten(0, -2))
        ctx.save_for_backward(inner, *tensors, *kept_input(ctx, x, origin))
        ctx.scale, ctx.shape = scale, x.shape
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inner, weight, bias, lora_a, lora_b, *kept = ctx.saved_tensors
        wants_x, _, _, *wants = ctx.needs_input_grad
        found = Projection(weight, bias, lora_a, lora_b, ctx.scale).backward(
            grad.flatten(0, -2), read_input(ctx, kept), inner, Wanted(wants_x, *wants)
        )
        grad_x = None if found.x is None else found.x.view(ctx.shape)
        return grad_x, None, None, *found[1:]


class FusedProjection:
    """The forward of a linear layer or a plain LoRA layer.

    The layer's own takes over where PyTorch's product is as fast.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.own = layer.forward

    @classmethod
    def of(cls, layer: nn.Module) -> FusedProjection | None:
        """Make one for a layer that has the form, else None."""
        return None if Projection.of(layer) is None else cls(layer)

    def __call__(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """Project ``(..., K)`` to ``(..., N)``."""
        found = None if args or options else fitted(x, Projection.of(self.layer))
        if found is None:
            own: Tensor = self.own(x, *args, **options)
            return own
        x = x.to(found.weight.dtype)
        result: Tensor = _Project.apply(  # type: ignore[no-untyped-call]
            x, Origin.of(x), found.scale, *found.tensors
        )
        return result


def fitted(x: Tensor, projection: Projection | None) -> Projection | None:
    """Return a projection in the number format in which it is to be applied to ``x``.

    In mixed precision that is autocast's. A layer with adapters gains most there: PEFT widens its
    input to the adapters' float32 for autocast to narrow it again, layer by layer.

    Returns:
        None where the layer's own forward must do it, or does it as fast.
    """
    if projection is None:
        return None
    device, has_adapter = x.device.type, projection.lora_a is not None
    if torch.is_autocast_enabled(device):
        return projection.to(torch.get_autocast_dtype(device)) if has_adapter else None
    if any(part is not None and part.dtype != x.dtype for part in projection.tensors):
        return None
    return projection if has_adapter or takes_onednn(x) else None


def _is_lora(layer: nn.Module) -> bool:
    """Whether PEFT made the layer; where PEFT is not loaded, it has not.

    Loading it takes over a second and 110 MB, which full tuning does without.
    """
    peft = sys.modules.get("peft.tuners.lora")
    return peft is not None and isinstance(layer, peft.Linear)


def _is_plain(layer: Any) -> bool:
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    name = layer.active_adapters[0]
    base = layer.get_base_layer()
    return (
        name in layer.lora_A
        and name not in getattr(layer, "lora_variant", {})
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and layer.lora_B[name].bias is None
        and not getattr(layer, "fan_in_fan_out", False)
        and type(base) is nn.Linear
        and not base.weight.requires_grad
    )
