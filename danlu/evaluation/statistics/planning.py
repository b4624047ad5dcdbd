"""How many prompts for which difference, before the money is spent.

For right and wrong, what matters beside the difference is the discordance: the share of prompts on
which the two versions disagree. With S = z_a sqrt(disc) + z_b sqrt(disc - d**2), McNemar's normal
test sees the difference d with n prompts if n d >= S sqrt(n) (Miettinen 1968; Connor 1987). The
exact test moves in whole prompts: its deviation has to be one prompt greater, n d - 1 >= S sqrt(n),
which is solved for sqrt(n) here.
"""

from __future__ import annotations

import math

from danlu.evaluation.statistics.distributions import normal_quantile, student_quantile
from danlu.evaluation.statistics.inputs import between


def prompts_needed(
    difference: float, discordance: float, *, power: float = 0.8, level: float = 0.05
) -> int:
    """Return how many prompts show a difference in right answers with the exact McNemar test.

    Args:
        difference: Of the shares right, as a share: 0.03 is three points. Its sign does not matter.
        discordance: Share of prompts on which the versions disagree; at least the difference.
        power: The chance to see the difference if it is there.
        level: Of the two-sided test.

    Raises:
        ValueError: If the difference is 0, or greater than the discordance.

    Example:
        >>> prompts_needed(0.03, 0.15), prompts_needed(0.1, 0.2)
        (1372, 175)
    """
    d = between("difference", abs(difference), 0, 1.000001)
    between("discordance", discordance, 0, 1.000001)
    if d > discordance:
        raise ValueError(
            f"a difference of {d} cannot come from disagreement on {discordance} of the prompts"
        )
    s = _spread(d, discordance, power, level)
    return math.ceil(((s + math.sqrt(s**2 + 4 * d)) / (2 * d)) ** 2)


def smallest_difference(
    n: int, discordance: float, *, power: float = 0.8, level: float = 0.05
) -> float | None:
    """Return the smallest difference in right answers that n prompts show: the inverse.

    Args:
        n: Prompts.
        discordance: Share of prompts on which the versions disagree, as far as is known. A
            difference greater than that would bring more disagreement: all of it in one direction.
        power: The chance to see the difference if it is there.
        level: Of the two-sided test.

    Returns:
        The difference, as a share; None if not even 1 would be seen: five prompts show nothing
        at a level of 5 %.

    Example:
        >>> print(f"{smallest_difference(175, 0.2):.3f}", smallest_difference(5, 0.2))
        0.100 None
    """
    between("n", n, 0, math.inf)
    between("discordance", discordance, 0, 1.000001)

    def seen(d: float) -> bool:
        return n * d - 1 >= _spread(d, max(discordance, d), power, level) * math.sqrt(n)

    low, high = 0.0, 1.0
    if not seen(high):
        return None
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


def mean_prompts_needed(
    difference: float, deviation: float, *, power: float = 0.8, level: float = 0.05
) -> int:
    """Return how many prompts (or clusters) show a difference of mean scores.

    ``n = ((t_a + t_b) deviation / difference)**2`` with Student's quantiles, found by raising n.

    Args:
        difference: Of the means, in units of the score; its sign does not matter.
        deviation: Standard deviation of the paired differences B - A.
        power: The chance to see the difference if it is there.
        level: Of the two-sided test.

    Raises:
        ValueError: If the difference or the deviation is 0.

    Example:
        >>> mean_prompts_needed(0.1, 0.5)
        199
    """
    d = between("difference", abs(difference), 0, math.inf)
    between("deviation", deviation, 0, math.inf)
    n = max(2, math.ceil(_factor(None, power, level) ** 2 * (deviation / d) ** 2))
    while _factor(n - 1, power, level) * deviation / math.sqrt(n) > d:
        n += 1
    return n


def smallest_mean_difference(
    error: float, df: float, *, power: float = 0.8, level: float = 0.05
) -> float:
    """Return the smallest difference of mean scores that would be seen.

    Args:
        error: Standard error of the mean difference (``cluster_error``).
        df: Its degrees of freedom: clusters less one.
        power: The chance to see the difference if it is there.
        level: Of the two-sided test.

    Example:
        >>> print(f"{smallest_mean_difference(0.5 / 199**0.5, 198):.3f}")
        0.100
    """
    return _factor(df, power, level) * error


def _factor(df: float | None, power: float, level: float) -> float:
    between("power", power, 0, 1)
    ends = (1 - between("level", level, 0, 1) / 2, power)
    return sum(normal_quantile(p) if df is None else student_quantile(p, df) for p in ends)


def _spread(d: float, discordance: float, power: float, level: float) -> float:
    z_level = normal_quantile(1 - between("level", level, 0, 1) / 2)
    z_power = normal_quantile(between("power", power, 0, 1))
    return z_level * math.sqrt(discordance) + z_power * math.sqrt(max(discordance - d**2, 0.0))
