"""Two-by-two tables in strata: are two versions alike, prompt by prompt."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from danlu.evaluation.statistics.distributions import chi_squared_tail, normal_quantile
from danlu.evaluation.statistics.inputs import between, counts


class MantelHaenszel(NamedTuple):
    """What the strata say together.

    Attributes:
        chi_squared: With one degree of freedom.
        p: Two-sided.
        odds_ratio: Common odds of the first row against the second; inf or 0 where one has all.
        low: Lower end of its interval; NaN where it cannot be computed.
        high: Upper end.
    """

    chi_squared: float
    p: float
    odds_ratio: float
    low: float
    high: float


def mantel_haenszel(
    tables: ArrayLike, *, continuity: bool = False, confidence: float = 0.95
) -> MantelHaenszel:
    """Test whether the odds ratio common to all strata is 1.

    Cochran 1954, Mantel and Haenszel 1959, with the interval of the ratio after Robins, Breslow
    and Greenland 1986.

    Args:
        tables: (strata, 2, 2) counts: rows are the versions, columns passed and failed.
        continuity: Take 1/2 off the deviation: closer to the exact conditional test, and
            conservative.
        confidence: Of the interval of the odds ratio.

    Raises:
        ValueError: If there is no table, or none can tell: in each, one version has no sample, or
            all samples pass, or all fail.

    Example:
        >>> found = mantel_haenszel([[[16, 4], [9, 11]], [[12, 8], [6, 14]]])
        >>> print(f"{found.p:.4f} {found.odds_ratio:.2f}")
        0.0035 4.10
    """
    table = counts("tables", tables)
    if table.ndim != 3 or table.shape[1:] != (2, 2):
        raise ValueError(f"tables have the shape {table.shape}; it must be (strata, 2, 2)")
    table = table[table.sum(axis=(1, 2)) > 1].astype(np.float64)
    rows, columns, n = table.sum(axis=2), table.sum(axis=1), table.sum(axis=(1, 2))
    variance = float((rows.prod(axis=1) * columns.prod(axis=1) / (n**2 * (n - 1))).sum())
    if variance == 0:
        raise ValueError("no stratum has both versions and both outcomes: nothing can be told")
    deviation = abs(float((table[:, 0, 0] - rows[:, 0] * columns[:, 0] / n).sum()))
    chi = max(deviation - (0.5 if continuity else 0.0), 0.0) ** 2 / variance
    same = table[:, 0, 0] * table[:, 1, 1] / n
    cross = table[:, 0, 1] * table[:, 1, 0] / n
    ratio = float(same.sum() / cross.sum()) if cross.sum() > 0 else math.inf
    z = normal_quantile((1 + between("confidence", confidence, 0, 1)) / 2)
    low, high = math.nan, math.nan
    if 0 < ratio < math.inf:
        agree, differ = (
            (table[:, 0, 0] + table[:, 1, 1]) / n,
            (table[:, 0, 1] + table[:, 1, 0]) / n,
        )
        r, s = float(same.sum()), float(cross.sum())
        spread = math.sqrt(
            float((agree * same).sum()) / (2 * r**2)
            + float((agree * cross + differ * same).sum()) / (2 * r * s)
            + float((differ * cross).sum()) / (2 * s**2)
        )
        low, high = ratio * math.exp(-z * spread), ratio * math.exp(z * spread)
    return MantelHaenszel(chi, chi_squared_tail(chi), ratio, low, high)
