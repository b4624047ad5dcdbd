"""Matrix products by the faster of the two libraries that PyTorch brings.

PyTorch computes float32 products on x86 with MKL, which leaves AVX-512 unused on processors that
are not Intel's: on two cores of an AMD EPYC it reaches 190 GFLOP/s, and oneDNN, which PyTorch
carries for convolutions, 430, to the same accuracy. Held to AVX2 both reach the same. Which one is
taken depends on the machine alone and not on a measurement, so that a resumed run rounds as the
run that was broken off.

Shapes: T rows, K inputs, N outputs.
"""

from __future__ import annotations

import os
from functools import cache

import torch
from torch import Tensor

LEAST_SIZE = 2**13
"""Entries of ``x`` below which the call itself is most of the time, and MKL's is shorter."""

KEPT_KERNELS = 48
"""For how many shapes oneDNN keeps the code that it made: 1.5 MB each, and every pack has another
number of tokens, so with its own limit of 1,024 a run grows by more than a GB. A pack has about 12
shapes, with LoRA 22."""
# oneDNN reads it at the first product of any kind.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KEPT_KERNELS))


def product(x_TK: Tensor, weight_NK: Tensor) -> Tensor:
    """Return ``x W'``, shape ``(T, N)``; for use where autograd does not look.

    Other products are this one of transposed tensors: ``g W`` is ``product(g, W.T)``.

    Example:
        >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
        tensor([[11., 17.]])
    """
    if takes_onednn(x_TK):
        if not (weight_NK.is_contiguous() or weight_NK.T.is_contiguous()):
            weight_NK = weight_NK.contiguous()  # other strides fall to a loop 1,000 times slower
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x_TK, weight_NK, None, "none", [], "")
        return result
    return x_TK @ weight_NK.T


def add_product(
    sum_NK: Tensor, grad_TN: Tensor, x_TK: Tensor, *, scale: float = 1.0, fresh: bool = False
) -> None:
    """Add ``s g' x``, a chunk's or a pack's part of a matrix's gradient, in place.

    MKL adds to what is there and reads the gradient as it lies. oneDNN would need a copy of it and
    a tensor of its own as large as the matrix: for 341 predictions and an output matrix of 49,152
    by 576, 168 ms in place of 103 on two cores, and then the sum; for the matrices of a layer and
    989 tokens, 165 GFLOP/s in place of 190.

    Args:
        sum_NK: At least as wide in type as the others: for 16-bit ones a 16-bit product is added
            up in 32.
        grad_TN: Gradient of the output.
        x_TK: The input.
        scale: s.
        fresh: Write in place of what is there, whatever it is.
    """
    if sum_NK.dtype == x_TK.dtype:
        sum_NK.addmm_(grad_TN.T, x_TK, beta=0 if fresh else 1, alpha=scale)
        return
    if fresh:
        sum_NK.zero_()
    sum_NK.add_(grad_TN.T @ x_TK, alpha=scale)


def takes_onednn(x_TK: Tensor) -> bool:
    """Whether a product with this on the left is oneDNN's."""
    return (
        x_TK.dtype == torch.float32
        and x_TK.device.type == "cpu"
        and x_TK.numel() >= LEAST_SIZE
        and _has_onednn()
    )


@cache
def _has_onednn() -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
