"""Does more data help? A power law with a floor, and how sure it is.

``loss(n) = floor + scale * n ** -power`` (Hestness et al. 2017, arXiv:1712.00409; with a floor as
in Hoffmann et al. 2022, arXiv:2203.15556). For each power on a grid the other two are least squares
with neither below zero; the best power wins. Few amounts say little about three numbers: so the
uncertainty that is told is that of the prediction, from drawing held-out records again.

Shapes: B draws, S amounts of data, R held-out records, P powers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Answer = Literal["helps", "does not help", "unclear"]

POWERS = np.geomspace(0.05, 2.0, 60)
MARGIN = 0.01
"""Nats per token: a gain of less than one percent of perplexity is none."""
DRAWS = 1000
LEVEL = 0.9


@dataclass(frozen=True)
class Law:
    """A fitted power law.

    Attributes:
        floor: What no amount of this data goes below.
        scale: How much there is to gain, at one record.
        power: How fast it is gained.
    """

    floor: float
    scale: float
    power: float

    def at(self, records: float) -> float:
        """Return the loss with so many records."""
        return float(self.floor + self.scale * records**-self.power)


@dataclass(frozen=True)
class Forecast:
    """What twice the data would do.

    Attributes:
        law: Of the losses as they are.
        now: The loss with all data.
        then: The loss predicted with twice as much.
        low: Of the gain, lower end of the interval.
        gain: ``now - then``, as the law has both.
        high: Upper end.
        answer: Whether it helps by more than ``MARGIN``.
    """

    law: Law
    now: float
    then: float
    low: float
    gain: float
    high: float
    answer: Answer


def fit_laws(records: Sequence[float], loss_BS: Floats) -> Floats:
    """Fit a law to each row of losses.

    Args:
        records: ``(S,)`` amounts, above 0 and all different; at least two.
        loss_BS: Losses.

    Returns:
        ``(B, 3)``: floor, scale, power.

    Raises:
        ValueError: If there are fewer than two amounts, or one is not above 0.
    """
    amount_S = np.asarray(records, np.float64)
    if len(amount_S) < 2 or (amount_S <= 0).any() or len(set(amount_S.tolist())) < len(amount_S):
        raise ValueError("a law needs two different amounts of data, each above 0")
    relative_S = amount_S / amount_S.max()  # so that scale and floor are of one size
    best_B = np.full(len(loss_BS), np.inf)
    found_B3 = np.zeros((len(loss_BS), 3))
    mean_B = loss_BS.mean(1)
    for power in POWERS:
        x_S = relative_S**-power
        centred_S = x_S - x_S.mean()
        slope_B = (loss_BS @ centred_S) / (centred_S @ centred_S)
        slope_B = np.maximum(slope_B, 0.0)
        floor_B = mean_B - slope_B * x_S.mean()
        below_B = floor_B < 0
        slope_B = np.where(below_B, (loss_BS @ x_S) / (x_S @ x_S), slope_B)
        floor_B = np.where(below_B, 0.0, floor_B)
        error_B = ((floor_B[:, None] + slope_B[:, None] * x_S - loss_BS) ** 2).sum(1)
        better_B = error_B < best_B - 1e-15
        best_B = np.where(better_B, error_B, best_B)
        scale_B = slope_B * amount_S.max() ** power
        row_B3 = np.stack([floor_B, scale_B, np.full_like(floor_B, power)], 1)
        found_B3 = np.where(better_B[:, None], row_B3, found_B3)
    return found_B3


def fit_law(records: Sequence[float], losses: Sequence[float]) -> Law:
    """Fit one law.

    Example:
        >>> law = fit_law([100, 400, 1600], [2.0, 1.5, 1.25])  # 1 + 10 / sqrt(n)
        >>> round(law.floor, 1), round(law.power, 1), round(law.at(6400), 1)
        (1.0, 0.5, 1.1)
    """
    floor, scale, power = fit_laws(records, np.asarray([losses], np.float64))[0].tolist()
    return Law(floor, scale, power)


def forecast(
    records: Sequence[float],
    nats_SR: Floats,
    tokens_R: Floats,
    *,
    factor: float = 2.0,
    seed: int = 0,
) -> Forecast:
    """Say what more data would do, and how sure that is.

    Args:
        records: ``(S,)`` amounts, rising.
        nats_SR: Loss of each held-out record with each amount, the mean over seeds.
        tokens_R: Tokens of each.
        factor: How much more data.
        seed: Of the draws.

    Raises:
        ValueError: As ``fit_laws``; or if there is no held-out record.
    """
    if not nats_SR.shape[1]:
        raise ValueError("there is no held-out record")
    size = nats_SR.shape[1]
    draw_BR = np.random.default_rng(seed).integers(0, size, (DRAWS, size))
    weight_BR = np.stack([np.bincount(row, minlength=size) for row in draw_BR]).astype(np.float64)
    loss_BS = (weight_BR @ nats_SR.T) / (weight_BR @ tokens_R)[:, None]
    found_B3 = fit_laws(records, loss_BS)
    whole = nats_SR.sum(1) / tokens_R.sum()
    law = fit_law(records, whole.tolist())
    most = max(records)
    gain_B = _at(found_B3, most) - _at(found_B3, most * factor)
    edge = (1 - LEVEL) / 2
    low, high = np.quantile(gain_B, [edge, 1 - edge]).tolist()
    answer: Answer = "unclear"
    if low > MARGIN:
        answer = "helps"
    elif high < MARGIN:
        answer = "does not help"
    gain = law.at(most) - law.at(most * factor)
    return Forecast(law, float(whole[-1]), law.at(most * factor), low, gain, high, answer)


def _at(laws_B3: Floats, records: float) -> Floats:
    at_B: Floats = laws_B3[:, 0] + laws_B3[:, 1] * records ** -laws_B3[:, 2]
    return at_B
