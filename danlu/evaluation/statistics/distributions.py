"""The distributions that the tests need: normal, Student's t, chi-squared (1), binomial.

SciPy has all of these, in 100 MB; what is needed here is a page.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from danlu.evaluation.statistics.inputs import Floats, Ints, between

_NORMAL = NormalDist()
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)
NEARLY_NORMAL = 1e7
"""Degrees of freedom from which Student's t is taken as normal: the difference is below 1e-6."""


def normal_quantile(p: float) -> float:
    """Return the standard normal quantile.

    Example:
        >>> round(normal_quantile(0.975), 4)
        1.96
    """
    return _NORMAL.inv_cdf(between("p", p, 0, 1))


def normal_cdf(z: float) -> float:
    """Return the standard normal distribution function; exact in the lower tail too."""
    return math.erfc(-z / math.sqrt(2)) / 2


def chi_squared_tail(x: float) -> float:
    """Return P(chi-squared with one degree of freedom > x).

    Example:
        >>> round(chi_squared_tail(3.841), 3)
        0.05
    """
    return math.erfc(math.sqrt(x / 2))


@lru_cache(maxsize=4096)
def student_quantile(p: float, df: float) -> float:
    """Return the quantile of Student's t.

    Args:
        p: Between 0 and 1.
        df: Degrees of freedom, above 0.

    Example:
        >>> round(student_quantile(0.975, 9), 4)
        2.2622
    """
    between("p", p, 0, 1)
    between("df", df, 0, math.inf)
    if p < 0.5:
        return -student_quantile(1 - p, df)
    if p == 0.5:
        return 0.0
    if df >= NEARLY_NORMAL:
        return normal_quantile(p)
    low, high = 0.0, math.pi / 2  # of the angle, t = sqrt(df) tan(angle)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if 0.5 + _student_mass(middle, df) > p else (middle, high)
    return math.sqrt(df) * math.tan((low + high) / 2)


def _student_mass(angle: float, df: float) -> float:
    """Return P(0 < t < sqrt(df) tan(angle)).

    With t = sqrt(df) tan(u) the density becomes cos(u)**(df - 1), up to its constant.
    """
    width = min(angle, 40 / math.sqrt(df))  # beyond it the integrand is 0 in float64
    constant = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)
    grid = width * (_NODES + 1) / 2
    return constant * width / 2 * float(_WEIGHTS @ np.cos(grid) ** (df - 1))


def log_factorials(n: int) -> Floats:
    """Return log(0!), log(1!) ... log(n!).

    Example:
        >>> np.exp(log_factorials(4)).round(6)
        array([ 1.,  1.,  2.,  6., 24.])
    """
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1, dtype=np.float64)))])


def fair_coin_pmf(n: int) -> Floats:
    """Return P(k heads in n throws) of a fair coin, for k from 0 to n.

    Example:
        >>> fair_coin_pmf(2)
        array([0.25, 0.5 , 0.25])
    """
    logs = log_factorials(n)
    k: Ints = np.arange(n + 1)
    found: Floats = np.exp(logs[n] - logs[k] - logs[n - k] - n * math.log(2))
    found /= found.sum()
    return found
