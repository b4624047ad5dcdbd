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
from danlu.models.fused.projection import (
    TENSORS,
    Projection,
    fitted,
    kept_input,
    project,
    project_backward,
    read_input,
    unpacked,
    wanted_of,
)

_SILUS = ("SiLU", "SiLUActivation")


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
        gate_proj, up_proj, down_proj = unpacked(tensors, scales)
        [gate, up], inner = project(x.flatten(0, -2), (gate_proj, up_proj))
        [output], down_inner = project(functional.silu(gate).mul_(up), (down_proj,))
        ctx.save_for_backward(gate, up, inner, down_inner, *tensors, *kept_input(ctx, x, origin))
        ctx.scales, ctx.shape = scales, x.shape
        return output.view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, inner, down_inner, *others = ctx.saved_tensors
        count = TENSORS * len(ctx.scales)
        gate_proj, up_proj, down_proj = unpacked(others[:count], ctx.scales)
        wants_x, _, _, *wants = ctx.needs_input_grad
        *wanted, wanted_down = wanted_of(wants)
        silu = functional.silu(gate)
        grad_act, of_down = project_backward(
            [grad.flatten(0, -2)], silu * up, down_inner, [down_proj], True, [wanted_down]
        )
        assert grad_act is not None
        grad_up = silu.mul_(grad_act)
        grad_gate = grad_act.mul_(up)
        torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
        flat = read_input(ctx, others[count:])
        grad_x, found = project_backward(
            [grad_gate, grad_up], flat, inner, [gate_proj, up_proj], wants_x, wanted
        )
        if grad_x is not None:
            grad_x = grad_x.view(ctx.shape)
        return grad_x, None, None, *(grad for one in (*found, *of_down) for grad in one)


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
