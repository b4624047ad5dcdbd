"""Linear layers with faster products, and LoRA layers in fewer passes.

PEFT adds ``scaling * B(A(x))`` to the frozen layer's output in two passes over a tensor as wide as
that output, and autograd keeps the parts. Written as one function, the product is accumulated in
place of the output, and only the input and ``A(x)`` are kept. Several projections of one input are
computed together: their adapters are then one narrow product in place of several narrower ones,
and the gradients of the input are summed in place.

Shapes: T rows, K inputs, N outputs, R rank, or the ranks of several adapters together.
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
TENSORS = 4
"""Of a projection."""


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


class Wanted(NamedTuple):
    """Which gradients of a projection's tensors autograd asks for."""

    weight: bool
    bias: bool
    lora_a: bool
    lora_b: bool


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""Those of a projection's tensors; None where none was wanted."""


def project(x_TK: Tensor, projections: Sequence[Projection]) -> tuple[list[Tensor], Tensor | None]:
    """Compute projections of one input; their adapters' first products are one.

    Args:
        x_TK: The input of all of them.
        projections: K inputs each.

    Returns:
        Each one's output ``(T, N)``, and ``x A'`` of all adapters side by side ``(T, sum of R)``,
        which backward asks for; None without an adapter.
    """
    adapters = _stacked([one.lora_a for one in projections if one.lora_a is not None])
    inner_TR = None if adapters is None else product(x_TK, adapters)
    outputs, start = [], 0
    for one in projections:
        output = product(x_TK, one.weight)
        if one.bias is not None:
            output += one.bias
        if one.lora_b is not None and inner_TR is not None:
            end = start + one.lora_b.shape[1]
            output.addmm_(inner_TR[:, start:end], one.lora_b.T, alpha=one.scale)
            start = end
        outputs.append(output)
    return outputs, inner_TR


def project_backward(
    grads: Sequence[Tensor],
    x_TK: Tensor,
    inner_TR: Tensor | None,
    projections: Sequence[Projection],
    wants_x: bool,
    wanted: Sequence[Wanted],
) -> tuple[Tensor | None, list[Gradients]]:
    """Return the gradients of ``project``'s input and tensors.

    With g that of an output and u = x A': dx = g W + s (g B) A, summed over the projections,
    dW = g' x, db = g' 1, dA = s (g B)' x, dB = s g' u. That of a weight that adds in place is
    added, and None is returned for it.

    Args:
        grads: Gradient of each output, ``(T, N)``.
        x_TK: The input.
        inner_TR: What ``project`` returned beside the outputs.
        projections: As they were given to ``project``.
        wants_x: Whether the input's gradient is wanted.
        wanted: Of each projection.
    """
    grad_x: Tensor | None = None
    found: list[Gradients] = []
    for grad_TN, one, want in zip(grads, projections, wanted, strict=True):
        if wants_x:
            part = product(grad_TN, one.weight.T)
            grad_x = part if grad_x is None else grad_x.add_(part)
        grad_weight = None
        if want.weight and adds_in_place(one.weight):
            add_to_gradient(one.weight, grad_TN, x_TK)
        elif want.weight:
            grad_weight = product(grad_TN.T, x_TK.T)
        found.append((grad_weight, grad_TN.sum(0) if want.bias else None, None, None))
    if inner_TR is not None:
        _adapters_backward(grads, x_TK, inner_TR, projections, grad_x, wanted, found)
    return grad_x, found


def _adapters_backward(
    grads: Sequence[Tensor],
    x_TK: Tensor,
    inner_TR: Tensor,
    projections: Sequence[Projection],
    grad_x: Tensor | None,
    wanted: Sequence[Wanted],
    found: list[Gradients],
) -> None:
    """Add the adapters' part to the input's gradient, and put their own into ``found``."""
    adapted = [number for number, one in enumerate(projections) if one.lora_b is not None]
    parts, tensors, scales = [], [], []
    for number in adapted:
        one = projections[number]
        assert one.lora_a is not None
        assert one.lora_b is not None
        parts.append(product(grads[number], one.lora_b.T).mul_(one.scale))
        tensors.append(one.lora_a)
        scales.append(one.scale)
    grad_inner = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    if grad_x is not None:
        grad_x.addmm_(grad_inner, tensors[0] if len(tensors) == 1 else torch.cat(tensors))
    ranks = [part.shape[1] for part in parts]
    grads_a: Sequence[Tensor | None] = [None] * len(adapted)
    # The narrow side goes first: it is copied to be contiguous, the other read as it lies.
    if any(wanted[number].lora_a for number in adapted):
        grads_a = product(grad_inner.T, x_TK.T).split(ranks)
    inners = inner_TR.split(ranks, dim=1)
    for number, grad_a, inner, scale in zip(adapted, grads_a, inners, scales, strict=True):
        want = wanted[number]
        grad_b = None
        if want.lora_b:
            grad_b = product(inner.T, grads[number].T).mul_(scale).T
        found[number] = (*found[number][:2], grad_a if want.lora_a else None, grad_b)


def _stacked(tensors: Sequence[Tensor]) -> Tensor | None:
    """Put matrices ``(R, K)`` below each other, laid out as a product's right side is fastest."""
    if len(tensors) < 2:
        return tensors[0] if tensors else None
    return torch.cat([tensor.T for tensor in tensors], dim=1).T


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
    """Projections of one input in autograd: keeps ``x`` and the adapters' ``x A'``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, origin: Origin | None, scales: tuple[float, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        outputs, inner = project(x.flatten(0, -2), unpacked(tensors, scales))
        ctx.save_for_backward(inner, *tensors, *kept_input(ctx, x, origin))
        ctx.scales, ctx.shape = scales, x.shape
        return tuple(output.view(*x.shape[:-1], -1) for output in outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inner, *others = ctx.saved_tensors
        count = TENSORS * len(ctx.scales)
        wants_x, _, _, *wants = ctx.needs_input_grad
        grad_x, found = project_backward(
            [grad.flatten(0, -2) for grad in grads],
            read_input(ctx, others[count:]),
            inner,
            unpacked(others[:count], ctx.scales),
            wants_x,
            wanted_of(wants),
        )
        if grad_x is not None:
            grad_x = grad_x.view(ctx.shape)
        return grad_x, None, None, *(grad for one in found for grad in one)


def projected(x: Tensor, projections: Sequence[Projection]) -> tuple[Tensor, ...]:
    """Compute projections of one input ``(..., K)``, differentiably: each ``(..., N)``."""
    result: tuple[Tensor, ...] = _Project.apply(  # type: ignore[no-untyped-call]
        x,
        Origin.of(x),
        tuple(one.scale for one in projections),
        *(tensor for one in projections for tensor in one.tensors),
    )
    return result


def unpacked(tensors: Sequence[Tensor | None], scales: Sequence[float]) -> list[Projection]:
    """Make projections again of their tensors, one after another, and their scales."""
    return [
        Projection._make((*tensors[TENSORS * number : TENSORS * (number + 1)], scale))
        for number, scale in enumerate(scales)
    ]


def wanted_of(needs: Sequence[bool]) -> list[Wanted]:
    """Read what autograd asks for of the projections' tensors, one after another."""
    return [Wanted(*needs[start : start + TENSORS]) for start in range(0, len(needs), TENSORS)]


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
        return projected(x.to(found.weight.dtype), (found,))[0]


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
