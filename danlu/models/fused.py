"""Linear layers with faster products, and LoRA layers in fewer passes, to the same numbers.

PEFT adds ``scaling * B(A(x))`` to the frozen layer's output in two passes over a tensor as wide as
that output, and autograd keeps the parts. Written as one function, the product is accumulated in
place of the output, and only the input and ``A(x)`` are kept. All products are those of
``products``.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from danlu.models.products import product, takes_onednn


class _LinearProduct(torch.autograd.Function):
    """``x W' + b``; with g the gradient of the output, dx = g W, dW = g' x, db = g' 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        flat = x.flatten(0, -2)
        output = product(flat, weight)
        if bias is not None:
            output += bias
        ctx.save_for_backward(flat, weight)
        ctx.shape = x.shape
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight = ctx.saved_tensors
        grad = grad.flatten(0, -2)
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        grad_x = product(grad, weight.T).view(ctx.shape) if wants_x else None
        grad_weight = product(grad.T, flat.T) if wants_weight else None
        return grad_x, grad_weight, grad.sum(0) if wants_bias else None


class _LoraProduct(torch.autograd.Function):
    """``x W' + b + s (x A') B'`` with frozen W; Hu et al. 2021, arXiv:2106.09685, equation 3.

    With g the gradient of the output and u = x A':
    dx = g W + s (g B) A,  dA = s (g B)' x,  dB = s g' u.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lora_a: Tensor,
        lora_b: Tensor,
        scale: float,
    ) -> Tensor:
        flat = x.flatten(0, -2)
        inner = product(flat, lora_a)
        output = product(flat, weight)
        if bias is not None:
            output += bias
        output.addmm_(inner, lora_b.T, alpha=scale)
        ctx.save_for_backward(flat, inner, weight, lora_a, lora_b)
        ctx.scale, ctx.shape = scale, x.shape
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, lora_a, lora_b = ctx.saved_tensors
        grad = grad.flatten(0, -2)
        grad_inner = product(grad, lora_b.T).mul_(ctx.scale)
        # The narrow side goes first: it is copied to be contiguous, the other read as it lies.
        grad_a = product(grad_inner.T, flat.T) if ctx.needs_input_grad[3] else None
        grad_b = product(inner.T, grad.T).mul_(ctx.scale).T if ctx.needs_input_grad[4] else None
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = product(grad, weight.T).addmm_(grad_inner, lora_a).view(ctx.shape)
        return grad_x, None, None, grad_a, grad_b, None


def fuse_layers(model: nn.Module) -> int:
    """Let linear layers and plain LoRA layers compute in one function each.

    Plain is: one adapter without variant (DoRA ...), dropout or bias of its own, over a frozen
    ``nn.Linear`` in one dtype. Others stay as they are, but the linear layers in them do not.
    Merging, switching adapters off and saving work as before, because only the layer's forward is
    replaced, and it asks each time.

    Returns:
        How many LoRA layers were fused.
    """
    count = 0
    for module in model.modules():
        if isinstance(module, LoraLinear) and _is_plain(module):
            module.forward = _FusedLora(module)
            count += 1
        elif type(module) is nn.Linear:
            module.__dict__["forward"] = _FusedLinear(module)
    return count


class _FusedLinear:
    """A linear layer's forward; the layer's own in mixed precision and in other dtypes."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer
        self.own = layer.forward

    def __call__(self, x: Tensor) -> Tensor:
        weight = self.layer.weight
        if x.dtype != weight.dtype or not takes_onednn(x):
            return self.own(x)
        result: Tensor = _LinearProduct.apply(  # type: ignore[no-untyped-call]
            x, weight, self.layer.bias
        )
        return result


class _FusedLora:
    """A LoRA layer's forward, which falls back on PEFT's own where the layer is not plain now."""

    def __init__(self, layer: LoraLinear) -> None:
        self.layer = layer
        self.own = layer.forward

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer = self.layer
        if layer.disable_adapters or layer.merged or kwargs or args or not _is_plain(layer):
            return self._own(x, *args, **kwargs)
        name = layer.active_adapters[0]
        base, a, b = layer.get_base_layer(), layer.lora_A[name].weight, layer.lora_B[name].weight
        if x.dtype != a.dtype or torch.is_autocast_enabled(x.device.type):
            return self._own(x)
        product: Tensor = _LoraProduct.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, a, b, layer.scaling[name]
        )
        return product

    def _own(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = self.own(x, *args, **kwargs)
        return result


def _is_plain(layer: Any) -> bool:
    if len(layer.active_adapters) != 1:
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
        and base.weight.dtype == layer.lora_A[name].weight.dtype
    )
