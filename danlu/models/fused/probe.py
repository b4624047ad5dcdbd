"""Whether a part computes what the module computes: asked of numbers, not of names."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_TOLERANCE = {torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest accepted difference, relative to the largest entry; elsewhere 1e-4, as some modules
round to float32 within."""


def sample_like(weight: Tensor, *shape: int) -> Tensor:
    """Return arbitrary numbers about 1 in size, the same each time, and draw nothing at random.

    Args:
        weight: Whose dtype and device they have.
        shape: Their shape.
    """
    count = torch.Size(shape).numel()
    numbers = torch.arange(1, count + 1, device=weight.device, dtype=torch.float64)
    return (2 * torch.sin(numbers.square())).to(weight.dtype).view(shape)


@torch.no_grad()
def agrees(part: Callable[[Tensor], Tensor], own: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether both make the same of ``x``, to rounding; False where either takes something else."""
    try:
        found, expected = part(x), own(x)
    except (TypeError, ValueError, AttributeError):
        return False
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    limit = _TOLERANCE.get(x.dtype, 1e-4) * expected.abs().max().clamp_min(1e-6)
    return bool((found - expected).abs().max() <= limit)
