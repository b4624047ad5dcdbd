"""k-centre: things so chosen that no thing is far from a chosen one.

The greedy way (Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5): always choose what is farthest
from all that is chosen. No other way that is as fast is sure to come closer than twice the best.
Used for choosing training data by Sener and Savarese 2018 (arXiv:1708.00489).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from danlu.workshop.likeness.overlap import Int64
from danlu.workshop.likeness.vectors import Float64, Vectors


class Centres(NamedTuple):
    """What was chosen, and what that leaves.

    Attributes:
        chosen: The chosen texts in the order of choice.
        nearest: ``(R,)``: for each text the chosen one that it is most like.
        cosine: ``(R,)``: how much.
    """

    chosen: Int64
    nearest: Int64
    cosine: Float64


def k_centres(
    vectors: Vectors,
    count: int,
    rank: Int64,
    progress: Callable[[int], None] = lambda done: None,
) -> Centres:
    """Choose the text that is most like the mean, then always the one least like any chosen one.

    Args:
        vectors: Of R texts.
        count: How many are chosen, at most R.
        rank: ``(R,)``: a permutation; of texts that are equally far the lowest is chosen.
        progress: Told how many are chosen.
    """
    size = len(vectors)
    nearest, cosine = np.full(size, -1, np.int64), np.full(size, -1.0)
    by_rank = np.argsort(rank)
    central = vectors.products(*vectors.mean())
    # Rounded, so that the order in which a sum was made decides nothing.
    far = -np.round(central, 9)
    chosen: list[int] = []
    while len(chosen) < min(count, size):
        one = int(by_rank[np.argmin(far[by_rank])])
        like = np.minimum(np.round(vectors.cosines(one), 9), 1.0)
        like[one] = 1.0
        closer = like > cosine
        nearest[closer], cosine[closer] = one, like[closer]
        chosen.append(one)
        far = cosine.copy() if len(chosen) == 1 else np.where(closer, like, far)
        far[one] = np.inf
        progress(len(chosen))
    return Centres(np.array(chosen, np.int64), nearest, cosine)
