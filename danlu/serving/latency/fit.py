"""Lines through what was measured, with intervals. Plain functions over arrays.

Intervals are percentiles of a bootstrap (Efron 1979): what was measured is drawn again with
replacement, and fitted again, many times.

Shapes: N measurements, L different prompt lengths, R resamples, H places where the knee may be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from danlu.errors import DanluError
from danlu.serving.latency.card import CONFIDENCE, FirstToken, FirstTokenFit, Interval, Percentiles

RESAMPLES = 2000
KNEES = 64
"""Places that are tried for the knee."""

Floats = NDArray[np.float64]


def hinge_fit(measured: Sequence[FirstToken], seed: int) -> FirstTokenFit:
    """Fit ``seconds = b + k · max(0, tokens - h)`` with ``b, k ≥ 0``.

    Of each prompt length the median counts, so one request that waited for something else does no
    harm. For every knee tried the least-squares line has a closed form; the best knee is kept.

    Args:
        measured: At least three different lengths.
        seed: Of the bootstrap, which draws within each length.

    Raises:
        DanluError: If there are fewer lengths.

    Example:
        >>> rows = [FirstToken(prompt_tokens=n, seconds=0.5 + max(0, n - 100) / 1000)
        ...         for n in (50, 100, 200, 400)]
        >>> found = hinge_fit(rows, 0)
        >>> round(found.flat_s.value, 3), round(found.per_token_s.value * 1000, 3)
        (0.5, 1.0)
    """
    lengths_L = np.unique([one.prompt_tokens for one in measured]).astype(np.float64)
    if len(lengths_L) < 3:
        raise DanluError(
            f"{len(lengths_L)} lengths of prompts were answered, and a line with a knee needs "
            "three: give more --prompt-tokens.",
            where="--prompt-tokens",
        )
    groups = [
        np.array([one.seconds for one in measured if one.prompt_tokens == length])
        for length in lengths_L
    ]
    middle_L = np.array([np.median(group) for group in groups])
    rng = np.random.default_rng(seed)
    drawn_RL = np.stack(
        [
            np.median(group[rng.integers(len(group), size=(RESAMPLES, len(group)))], axis=1)
            for group in groups
        ],
        axis=1,
    )
    weight_L = np.array([len(group) for group in groups], dtype=np.float64)
    best = _hinges(lengths_L, middle_L[None], weight_L)[0]
    again_R3 = _hinges(lengths_L, drawn_RL, weight_L)
    flat, knee, slope = (
        _interval(value, again_R3[:, place]) for place, value in enumerate(best.tolist())
    )
    return FirstTokenFit(flat_s=flat, knee_tokens=knee, per_token_s=slope)


def _hinges(lengths_L: Floats, seconds_RL: Floats, weight_L: Floats) -> Floats:
    """Return flat time, knee and slope of the best line of each row, ``(R, 3)``."""
    last = lengths_L[-2]
    knees_H = np.unique([0.0, *lengths_L[:-1], *np.linspace(lengths_L[0], last, KNEES)])
    beyond_HL = np.maximum(0.0, lengths_L[None] - knees_H[:, None])
    share_L = weight_L / weight_L.sum()
    mean_H = beyond_HL @ share_L
    centred_HL = beyond_HL - mean_H[:, None]
    spread_H = (centred_HL**2) @ share_L
    mean_R = seconds_RL @ share_L
    together_RH = (seconds_RL - mean_R[:, None]) @ (centred_HL * share_L).T
    slope_RH = np.maximum(0.0, together_RH / spread_H)
    flat_RH = mean_R[:, None] - slope_RH * mean_H
    # A line that would begin below zero is drawn through the origin instead.
    through_RH = (seconds_RL @ (beyond_HL * share_L).T) / ((beyond_HL**2) @ share_L)
    slope_RH = np.where(flat_RH < 0, np.maximum(0.0, through_RH), slope_RH)
    flat_RH = np.maximum(0.0, flat_RH)
    error_RH = np.stack(
        [
            ((seconds_RL - flat_RH[:, [h]] - slope_RH[:, [h]] * beyond_HL[h]) ** 2) @ share_L
            for h in range(len(knees_H))
        ],
        axis=1,
    )
    # Of knees that fit alike, the last: what need not grow is flat.
    least_R = error_RH.min(axis=1, keepdims=True)
    tolerance = 1e-12 * (seconds_RL**2).mean(axis=1, keepdims=True)
    best_R = len(knees_H) - 1 - np.argmax((error_RH <= least_R + tolerance)[:, ::-1], axis=1)
    rows = np.arange(len(seconds_RL))
    return np.stack([flat_RH[rows, best_R], knees_H[best_R], slope_RH[rows, best_R]], axis=1)


def ratio(numerators: Sequence[float], denominators: Sequence[float], seed: int) -> Interval:
    """Return the sum of one over the sum of the other, with its interval over the pairs.

    Example:
        >>> ratio([1.0, 2.0], [10, 20], 0).value
        0.1
    """
    top_N, bottom_N = np.asarray(numerators, float), np.asarray(denominators, float)
    rng = np.random.default_rng(seed)
    drawn_RN = rng.integers(len(top_N), size=(RESAMPLES, len(top_N)))
    again_R = top_N[drawn_RN].sum(axis=1) / bottom_N[drawn_RN].sum(axis=1)
    return _interval(float(top_N.sum() / bottom_N.sum()), again_R)


def mean(values: Sequence[float], seed: int) -> Interval:
    """Return the mean with its interval."""
    return ratio(values, [1.0] * len(values), seed)


def percentiles(values: Sequence[float]) -> Percentiles:
    """Return the median, and what one in ten and one in a hundred exceed."""
    p50, p90, p99 = np.percentile(np.asarray(values, float), [50, 90, 99]).tolist()
    return Percentiles(p50=p50, p90=p90, p99=p99)


def _interval(value: float, again_R: Floats) -> Interval:
    edge = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(again_R, [edge, 100 - edge]).tolist()
    return Interval(value=value, low=min(low, value), high=max(high, value))
