"""Losses of whole distributions, made from an output head's logits a chunk at a time.

An objective that reads more of a distribution than one token's probability needs all logits of a
prediction. They exist for one chunk only: its loss, and the gradient of that in the hidden states
and in the head, are made at once, and backward only scales them. Nothing is computed twice.

Shapes: S predictions, D model width, V vocabulary, C chunk, N numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.models.gradients import gradients_handed_over
from danlu.models.head import OutputHead
from danlu.models.products import product

CHUNK_BYTES = 16 * 2**20
"""Largest block of float32 logits. A comparison of two distributions holds about ten of its size:
log-probabilities of both, probabilities, their differences, and the gradients of these."""

CHUNK_BYTES_GPU = 128 * 2**20
"""The same on an accelerator, whose memory is read for every chunk: see ``danlu.models.head``."""

ChunkLoss = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""Given logits ``(C, V)`` and which predictions they are of, returns a loss ``()`` to be summed and
``(N, C)`` detached numbers to be reported."""


def summed_loss(head: OutputHead, hidden_SD: Tensor, loss: ChunkLoss) -> tuple[Tensor, Tensor]:
    """Sum a loss over all predictions, through which gradients flow to the states and the head.

    Args:
        head: Makes logits of hidden states.
        hidden_SD: Hidden states of the predictors; S may be 0.
        loss: What to make of a chunk of logits; called for none too, so that N is known.

    Returns:
        The sum ``()`` and the numbers ``(N, S)``.

    Example:
        >>> head = OutputHead(torch.nn.Linear(2, 3, bias=False))
        >>> def flatness(logits_CV, part):
        ...     entropy_C = torch.distributions.Categorical(logits=logits_CV).entropy()
        ...     return entropy_C.sum(), entropy_C.detach().unsqueeze(0)
        >>> total, numbers = summed_loss(head, torch.zeros(4, 2), flatness)
        >>> total, numbers.shape
        (tensor(4.3944, grad_fn=<_SummedLossBackward>), torch.Size([1, 4]))
    """
    parameters = [part for part in head.module.parameters() if part.requires_grad]
    total, numbers = _SummedLoss.apply(  # type: ignore[no-untyped-call]
        head, loss, hidden_SD, *parameters
    )
    return total, numbers


class _SummedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, head: OutputHead, loss: ChunkLoss, hidden_SD: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(hidden_SD.dtype, torch.float32)
        wanted = ctx.needs_input_grad[2:]
        total = torch.zeros((), dtype=wide, device=hidden_SD.device)
        numbers: list[Tensor] = []
        grads: list[Tensor | None] = [
            torch.zeros_like(one, dtype=wide) if wants else None
            for one, wants in zip((hidden_SD, *parameters), wanted, strict=True)
        ]
        for part in chunks(len(hidden_SD), _vocabulary(head), hidden_SD.device):
            chunk = _plain_chunk if head.is_plain else _any_chunk
            value, said, parts = chunk(head, loss, hidden_SD[part], part, parameters, wanted)
            total += value
            numbers.append(said)
            for place, (kept, grad) in enumerate(zip(grads, parts, strict=True)):
                if kept is not None and grad is not None:
                    if place == 0:
                        kept[part] = grad
                    else:
                        kept += grad
        ctx.dtypes = [one.dtype for one in (hidden_SD, *parameters)]
        ctx.save_for_backward(*grads)
        made = torch.cat(numbers, -1)
        ctx.mark_non_differentiable(made)
        return total, made

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [
            None if grad is None else (grad * grad_total.to(grad.dtype)).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return None, None, *scaled


_Chunk = tuple[Tensor, Tensor, Sequence[Tensor | None]]


def _plain_chunk(
    head: OutputHead,
    loss: ChunkLoss,
    hidden_CD: Tensor,
    part: slice,
    parameters: Sequence[Tensor],
    wanted: Sequence[bool],
) -> _Chunk:
    """Score a chunk where logits are one product, whose gradient is two more."""
    logits_CV = head.frozen_logits(hidden_CD)
    if not any(wanted):
        return *loss(logits_CV, part), [None] * len(wanted)
    with torch.enable_grad():
        value, numbers = loss(logits_CV.requires_grad_(), part)
        slope_CV = torch.autograd.grad(value, logits_CV)[0]
    matrix_VD: Tensor = head.module.get_parameter("weight")
    if torch.is_autocast_enabled(hidden_CD.device.type):
        kind = torch.get_autocast_dtype(hidden_CD.device.type)
        hidden_CD, matrix_VD = hidden_CD.to(kind), matrix_VD.to(kind)
    slope_CV = slope_CV.to(matrix_VD.dtype)
    grads: list[Tensor | None] = [product(slope_CV, matrix_VD.T) if wanted[0] else None]
    if parameters:
        grads.append(product(slope_CV.T, hidden_CD.T) if wanted[1] else None)
    return value.detach(), numbers, grads


def _any_chunk(
    head: OutputHead,
    loss: ChunkLoss,
    hidden_CD: Tensor,
    part: slice,
    parameters: Sequence[Tensor],
    wanted: Sequence[bool],
) -> _Chunk:
    """Score a chunk of any head: softcaps, scales, biases, adapters."""
    if not any(wanted):
        return *loss(head.logits(hidden_CD), part), [None] * len(wanted)
    with torch.enable_grad(), gradients_handed_over():
        inputs = [hidden_CD.detach().requires_grad_(), *parameters]
        value, numbers = loss(head.logits(inputs[0]), part)
        asked = [one for one, wants in zip(inputs, wanted, strict=True) if wants]
        found = iter(torch.autograd.grad(value, asked, allow_unused=True))
    return value.detach(), numbers, [next(found) if wants else None for wants in wanted]


def _vocabulary(head: OutputHead) -> int:
    weight = getattr(head.module, "weight", None)
    return weight.shape[0] if isinstance(weight, Tensor) else 2**17


def chunks(predictions: int, vocabulary: int, device: torch.device) -> list[slice]:
    """Cut predictions into chunks of at most ``CHUNK_BYTES``; one empty chunk for none."""
    most = CHUNK_BYTES if device.type == "cpu" else CHUNK_BYTES_GPU
    rows = max(16, most // (4 * vocabulary))
    return [slice(start, start + rows) for start in range(0, max(1, predictions), rows)]
