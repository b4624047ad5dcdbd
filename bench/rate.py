"""The machine's rate in float32 matrix products, with the threads that training has."""

from __future__ import annotations

import time

ROWS = 1024
REPEATS = 5


def matrix_rate(width: int, inner: int, vocabulary: int) -> float:
    """Return operations per second of the fastest product at the model's own shapes.

    Args:
        width: Of the hidden states.
        inner: Of the MLP.
        vocabulary: Rows of the output matrix.
    """
    import torch

    best = 0.0
    for inputs, outputs, rows in (
        (width, inner, ROWS),
        (inner, width, ROWS),
        (width, width, ROWS),
        (width, vocabulary, ROWS // 2),
    ):
        states = torch.randn(rows, inputs)
        weight = torch.randn(outputs, inputs)
        for _ in range(REPEATS):
            began = time.perf_counter()
            torch.nn.functional.linear(states, weight)
            best = max(best, 2 * states.numel() * outputs / (time.perf_counter() - began))
    return best
