"""The machine's rate in float32 matrix products, with the threads that training has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

ROWS = 1024
REPEATS = 5


@dataclass(frozen=True)
class MatrixRate:
    """Operations per second of the fastest product at the model's own shapes.

    Attributes:
        torch: With PyTorch's own product, which everyone uses.
        fastest: With that or the one Danlu takes (``danlu.models.products``), whichever is faster.
    """

    torch: float
    fastest: float

    @classmethod
    def best(cls, *measured: MatrixRate) -> MatrixRate:
        """Return the highest of several measurements."""
        return cls(max(one.torch for one in measured), max(one.fastest for one in measured))


def measure_rate(width: int, inner: int, vocabulary: int) -> MatrixRate:
    """Measure both products.

    Args:
        width: Of the hidden states.
        inner: Of the MLP.
        vocabulary: Rows of the output matrix.
    """
    from torch.nn.functional import linear

    from danlu.models.products import product

    shapes = (
        (width, inner, ROWS),
        (inner, width, ROWS),
        (width, width, ROWS),
        (width, vocabulary, ROWS // 2),
    )
    plain = max(_rate(linear, *shape) for shape in shapes)
    return MatrixRate(plain, max(plain, *(_rate(product, *shape) for shape in shapes)))


def _rate(multiply: Callable[..., object], inputs: int, outputs: int, rows: int) -> float:
    import torch

    states, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        multiply(states, weight)
        best = min(best, time.perf_counter() - began)
    return 2 * rows * inputs * outputs / best
