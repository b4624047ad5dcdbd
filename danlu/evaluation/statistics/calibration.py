"""A judge's scores, set right by people's labels on a few of the same items."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from danlu.evaluation.statistics.distributions import normal_quantile
from danlu.evaluation.statistics.inputs import Floats, between, numbers, same_length


class Estimate(NamedTuple):
    """An estimate with its interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def rogan_gladen(
    judged_usable: int,
    n: int,
    *,
    caught: tuple[int, int],
    cleared: tuple[int, int],
    confidence: float = 0.95,
) -> Estimate:
    """Return the true share of usable answers, from the share that an imperfect judge reports.

    ``(p + specificity - 1) / (sensitivity + specificity - 1)``, cut to [0, 1] (Rogan and Gladen
    1978). The interval holds the doubt of all three counts, after Lang and Reiczigel 2014.

    Args:
        judged_usable: Answers that the judge calls usable.
        n: Answers judged.
        caught: Of the answers that people call usable: how many the judge does, and of how many.
        cleared: Of the answers that people call unusable: how many the judge does, and of how many.
        confidence: Between 0 and 1.

    Raises:
        ValueError: If a count is 0 or too great, or the judge is no better than a coin
            (sensitivity + specificity at most 1): then its reports say nothing.

    Example:
        >>> found = rogan_gladen(60, 100, caught=(45, 50), cleared=(40, 50))
        >>> print(f"{found.value:.3f} from {found.low:.3f} to {found.high:.3f}")
        0.571 from 0.396 to 0.743
    """
    for name, (part, whole) in (
        ("judged_usable", (judged_usable, n)),
        ("caught", caught),
        ("cleared", cleared),
    ):
        if not 0 <= part <= whole or whole < 1:
            raise ValueError(f"{name} is {part} of {whole}; it must be from 0 to at least 1")
    z = normal_quantile((1 + between("confidence", confidence, 0, 1)) / 2)
    youden = caught[0] / caught[1] + cleared[0] / cleared[1] - 1
    # The interval adds z**2 / 2 successes and failures to p, and one of each to the other two.
    p, p_n = (judged_usable + z**2 / 2) / (n + z**2), n + z**2
    se, se_n = (caught[0] + 1) / (caught[1] + 2), caught[1] + 2
    sp, sp_n = (cleared[0] + 1) / (cleared[1] + 2), cleared[1] + 2
    j = se + sp - 1
    if youden <= 0 or j <= 0:
        raise ValueError("the judge agrees with people no better than a coin: it says nothing")
    value = (judged_usable / n + cleared[0] / cleared[1] - 1) / youden
    share = (p + sp - 1) / j
    of_se, of_sp = se * (1 - se) / se_n, sp * (1 - sp) / sp_n
    shift = 2 * z**2 * (share * of_se - (1 - share) * of_sp)
    half = z * math.sqrt(p * (1 - p) / p_n + share**2 * of_se + (1 - share) ** 2 * of_sp) / j
    return Estimate(
        *(min(max(x, 0.0), 1.0) for x in (value, share + shift - half, share + shift + half))
    )


def prediction_powered_mean(
    labels: ArrayLike,
    judged_labelled: ArrayLike,
    judged_rest: ArrayLike,
    *,
    confidence: float = 0.95,
    tuned: bool = False,
) -> Estimate:
    """Return people's mean score, from a few labels and many scores of a judge.

    The judge's mean over the many, less its mean error on the few:
    ``mean(rest) + mean(labels - judged)``, with the interval
    ``± z sqrt(var(rest) / N + var(labels - judged) / n)`` (Angelopoulos et al. 2023,
    arXiv:2301.09633, proposition 1). It is right however bad the judge is; a good judge makes it
    narrow.

    Args:
        labels: (n,) people's scores.
        judged_labelled: (n,) the judge's scores of the same items.
        judged_rest: (N,) the judge's scores of items without labels.
        confidence: Between 0 and 1.
        tuned: Trust the judge by as much as the labels bear out, between 0 and 1 (Angelopoulos,
            Duchi and Zrnic 2023, arXiv:2311.01453, equation 8), instead of fully.

    Raises:
        ValueError: If there are fewer than two of either, one is missing, or the lengths differ.

    Example:
        >>> found = prediction_powered_mean([3, 5, 4], [2, 4, 3], [4, 5, 3, 4])
        >>> print(f"{found.value:.2f} from {found.low:.2f} to {found.high:.2f}")
        5.00 from 4.20 to 5.80
    """
    truth = numbers("labels", labels)
    near, far = numbers("judged_labelled", judged_labelled), numbers("judged_rest", judged_rest)
    same_length(labels=truth, judged_labelled=near)
    n, many = len(truth), len(far)
    if min(n, many) < 2:
        raise ValueError("at least two labelled and two unlabelled scores are needed")
    trust = _trust(truth, near, far) if tuned else 1.0
    value = trust * float(far.mean()) + float((truth - trust * near).mean())
    variance = trust**2 * float(far.var(ddof=1)) / many
    variance += float((truth - trust * near).var(ddof=1)) / n
    half = normal_quantile((1 + between("confidence", confidence, 0, 1)) / 2) * math.sqrt(variance)
    return Estimate(value, value - half, value + half)


def _trust(truth: Floats, near: Floats, far: Floats) -> float:
    """Return the weight of the judge with the least variance."""
    spread = float(np.concatenate([near, far]).var(ddof=1))
    if spread == 0:
        return 0.0
    together = float(np.cov(truth, near)[0, 1])
    return min(max(together / ((1 + len(truth) / len(far)) * spread), 0.0), 1.0)
