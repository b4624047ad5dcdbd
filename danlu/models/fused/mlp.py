"""A gated MLP as one function: ``down(silu(gate(x)) * up(x))`` (Shazeer 2020, arXiv:2002.05202).

Autograd keeps four tensors of the inner width: gate, its activation, up, and their product. Here
the outputs of gate and up are kept, and the two others are made anew in backward, which takes a
hundredth of the products' time.

Shapes: T rows, K width, N inner width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from danlu.models.fused.norm import Origin
from danlu.models.fused.probe import agrees, sample_like
from danlu.models.fused.projection import Projection, Wanted, fitted, kept_input, read_input

_SILUS = ("SiLU", "SiLUActivation")
_TENSORS = 4
"""Tensors of a projection."""


class _GatedMlp(torch.autograd.Function):
    """Keeps its input, gate, up, and the adapters' inner values.

    With s = silu(gate), a = s * up and g_a the gradient of a:
    g_up = g_a * s, g_gate = g_a * up * silu'(gate).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        origin: Origin | None,
        scales: tuple[float, float, float],
        *tensors: Tensor | None,
    ) -> Tensor:
        flat = x.flatten(0, -2)
        gate_proj, up_proj, down_proj = _projections(tensors, scales)
        gate, gate_inner = gate_proj.forward(flat)
        up, up_inner = up_proj.forward(flat)
        output, down_inner = down_proj.forward(functional.silu(gate).mul_(up))
        ctx.save_for_backward(
            gate, up, gate_inner, up_inner, down_inner, *tensors, *kept_input(ctx, x, origin)
        )
        ctx.scales, ctx.shape = scales, x.shape
        return output.view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, gate_inner, up_inner, down_inner, *others = ctx.saved_tensors
        tensors, kept = others[: 3 * _TENSORS], others[3 * _TENSORS :]
        gate_proj, up_proj, down_proj = _projections(tensors, ctx.scales)
        wants_x, _, _, *wants = ctx.needs_input_grad
        wants_gate, wants_up, wants_down = (
            wants[start : start + _TENSORS] for start in range(0, len(wants), _TENSORS)
        )
        silu = functional.silu(gate)
        of_down = down_proj.backward(
            grad.flatten(0, -2), silu * up, down_inner, Wanted(True, *wants_down)
        )
        grad_act = of_down.x
        assert grad_act is not None
        flat = read_input(ctx, kept)
        of_up = up_proj.backward(silu.mul_(grad_act), flat, up_inner, Wanted(wants_x, *wants_up))
        del silu
        grad_gate = torch.ops.aten.silu_backward(grad_act.mul_(up), gate)
        del grad_act
        of_gate = gate_proj.backward(grad_gate, flat, gate_inner, Wanted(wants_x, *wants_gate))
        grad_x = None
        if of_up.x is not None and of_gate.x is not None:
            grad_x = of_up.x.add_(of_gate.x).view(ctx.shape)
        return grad_x, None, None, *of_gate[1:], *of_up[1:], *of_down[1:]


class FusedMlp:
    """The forward of a gated MLP; the module's own while one of its layers is not plain."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.own = layer.forward

    @classmethod
    def of(cls, layer: nn.Module) -> FusedMlp | None:
        """Make one for a module that is a gated MLP of SiLU, else None."""
        names = {name for name, _ in layer.named_children()}
        if names != {"gate_proj", "up_proj", "down_proj", "act_fn"}:
            return None
        part = cls(layer)
        found = part.projections()
        if type(layer.act_fn).__name__ not in _SILUS or found is None:
            return None
        kind, width = found[0].weight.dtype, found[0].weight.shape[1]
        gate, up, down = (projection.to(kind) for projection in found)
        x = sample_like(found[0].weight, 1, 3, width)
        return part if agrees(lambda x: computed(x, (gate, up, down)), part.own, x) else None

    def projections(self) -> tuple[Projection, Projection, Projection] | None:
        """Return gate, up and down as they are now, or None if one is not plain."""
        gate, up, down = (
            Projection.of(self.layer.get_submodule(name))
            for name in ("gate_proj", "up_proj", "down_proj")
        )
        return None if gate is None or up is None or down is None else (gate, up, down)

    def __call__(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """Map ``(..., K)`` to ``(..., K)``."""
        found = None if args or options else self.projections()
        gate, up, down = (fitted(x, projection) for projection in found or (None,) * 3)
        if gate is None or up is None or down is None:
            own: Tensor = self.own(x, *args, **options)
            return own
        return computed(x.to(gate.weight.dtype), (gate, up, down))


def computed(x: Tensor, projections: tuple[Projection, Projection, Projection]) -> Tensor:
    """Compute a gated MLP of gate, up and down for ``(..., K)``, differentiably."""
    result: Tensor = _GatedMlp.apply(  # type: ignore[no-untyped-call]
        x,
        Origin.of(x),
        tuple(projection.scale for projection in projections),
        *(tensor for projection in projections for tensor in projection.tensors),
    )
    return result


def _projections(
    tensors: Any, scales: tuple[float, float, float]
) -> tuple[Projection, Projection, Projection]:
    gate, up, down = (
        Projection._make((*tensors[_TENSORS * number : _TENSORS * (number + 1)], scale))
        for number, scale in enumerate(scales)
    )
    return gate, up, down
