"""Does one of k samples pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from danlu.evaluation.statistics.inputs import Floats, counts


def pass_at_k(n: ArrayLike, passed: ArrayLike, k: int) -> Floats:
    """Return the chance that at least one of k samples passes, without bias.

    ``1 - C(n - c, k) / C(n, k)`` for c of n samples that passed (Chen et al. 2021,
    arXiv:2107.03374, equation 1). Taking ``1 - (1 - c/n)**k`` instead would be too low.

    Args:
        n: Samples drawn, of any shape.
        passed: How many passed.
        k: At least 1, at most ``n``.

    Raises:
        ValueError: If there are fewer samples than ``k`` or than passed.

    Example:
        >>> pass_at_k([10, 10], [1, 6], 5)
        array([0.5, 1. ])
    """
    drawn, right = np.broadcast_arrays(counts("n", n), counts("passed", passed))
    if k < 1 or (drawn < k).any():
        raise ValueError(f"k is {k}; it must be from 1 to the number of samples, {drawn.min()}")
    if (right > drawn).any():
        raise ValueError("more passed than were drawn")
    # C(n - c, k) / C(n, k) is the product over j < k of (n - c - j) / (n - j); 0 once c > n - k.
    missed = np.ones(drawn.shape)
    for j in range(k):
        missed = missed * np.maximum(drawn - right - j, 0) / (drawn - j)
    return 1 - missed
