"""McNemar's test: has B more prompts right than A, of those on which they disagree."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from danlu.evaluation.statistics.distributions import fair_coin_pmf
from danlu.evaluation.statistics.inputs import Floats, counts


def mcnemar(wins: ArrayLike, losses: ArrayLike, *, mid_p: bool = False) -> Floats:
    """Return two-sided p values of the exact conditional test.

    If neither is better, each prompt on which they disagree is a fair coin: p is twice the chance
    of a count as lopsided as this one or more, at most 1.

    The default is the exact test: it promises never to call noise a difference more often than the
    level says, which is what a gate needs. With ``mid_p`` only half of the chance of the observed
    count itself is taken: more power with few disagreements, a level that is kept nearly always but
    not by promise (Fagerland, Lydersen and Laake 2013).

    Args:
        wins: Prompts that B alone has right, of any shape.
        losses: Prompts that A alone has right; broadcast against ``wins``.
        mid_p: Take the mid-p value.

    Returns:
        P values of the broadcast shape; 1 where they never disagree.

    Example:
        >>> print(f"{mcnemar(7, 1):.4f} {mcnemar(7, 1, mid_p=True):.4f}")
        0.0703 0.0391
    """
    b, c = np.broadcast_arrays(counts("wins", wins), counts("losses", losses))
    pairs, place = np.unique(
        np.stack([np.minimum(b, c).ravel(), (b + c).ravel()]), axis=1, return_inverse=True
    )
    values = np.array([_p(int(fewer), int(total), mid_p) for fewer, total in pairs.T])
    found: Floats = values[place.reshape(b.shape)]
    return found


def _p(fewer: int, total: int, mid_p: bool) -> float:
    if 2 * fewer == total and not mid_p:
        return 1.0
    pmf = fair_coin_pmf(total)
    tail = float(pmf[: fewer + 1].sum())
    return min(1.0, 2 * tail - (float(pmf[fewer]) if mid_p else 0.0))
