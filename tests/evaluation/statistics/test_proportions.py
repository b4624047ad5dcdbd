"""Wilson, Tango and McNemar against SciPy, published values, and their promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from danlu.evaluation.statistics import mcnemar, paired_difference, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 5), (1, 7), (9, 10), (150, 300), (10, 10)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_is_scipys(k: int, n: int, confidence: float) -> None:
    theirs = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert np.allclose(wilson(k, n, confidence=confidence), theirs, atol=1e-12)


def test_wilson_covers() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    for n in (20, 200):
        low, high = wilson(rng.binomial(n, p), n)
        assert 0.94 <= ((low <= p) & (p <= high)).mean() <= 0.96


def tango_by_the_quartic(wins: int, losses: int, n: int) -> tuple[float, float]:
    """The ends as roots of a polynomial (Yang, Sun and Hardin 2013, Statistics in Medicine)."""
    g, d, s = stats.norm.ppf(0.975) ** 2, wins - losses, wins + losses
    roots = np.roots(
        [
            n**2 * (n / g + 1) ** 2,
            -n * d * (n / g + 1) * (4 * n / g + 1),
            2 * n * d**2 * (3 * n / g + 2) / g - n**2 * (s / g + 1),
            n * d * (2 * s / g + 1) - d**3 * (4 * n / g + 1) / g,
            d**2 * (d**2 / g - s) / g,
        ]
    )
    real = sorted(roots[abs(roots.imag) < 1e-6].real)
    return real[0], real[-1]


@pytest.mark.parametrize(
    ("wins", "losses", "n"), [(7, 1, 21), (1, 7, 21), (12, 2, 50), (3, 3, 40), (20, 5, 400)]
)
def test_tango_is_the_closed_form(wins: int, losses: int, n: int) -> None:
    found = paired_difference(wins, losses, n)
    assert np.allclose(found, tango_by_the_quartic(wins, losses, n), atol=1e-6)


def test_tango_of_a_published_table() -> None:
    """Airway reactivity: Fagerland, Lydersen and Laake 2014 print -0.517 to -0.026."""
    low, high = paired_difference(1, 7, 21)
    assert (round(float(low), 3), round(float(high), 3)) == (-0.517, -0.026)


def test_tango_at_the_borders_is_not_certain() -> None:
    low, high = paired_difference([0, 10, 0], [0, 0, 10], 10)
    assert low[0] == pytest.approx(-high[0])
    assert high[0] == pytest.approx(1.96**2 / (10 + 1.96**2), abs=1e-4)  # as Wilson's for 0 of 10
    assert low[1] < 1
    assert high[1] == 1
    assert low[2] == -1


@pytest.mark.parametrize("n", [30, 300])
def test_tango_covers(n: int) -> None:
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(40):
        discordance, tilt = rng.uniform(0.15, 0.6), rng.uniform(0.2, 0.8)
        shares = [discordance * tilt, discordance * (1 - tilt), 1 - discordance]
        drawn = rng.multinomial(n, shares, size=500)
        low, high = paired_difference(drawn[:, 0], drawn[:, 1], n)
        truth = shares[0] - shares[1]
        inside.append((low <= truth) & (truth <= high))
    assert 0.94 <= np.mean(inside) <= 0.96


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 7), (7, 1), (5, 5), (30, 12), (400, 350)])
def test_mcnemar_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    n = wins + losses
    theirs = stats.binomtest(wins, n).pvalue if n else 1.0
    assert mcnemar(wins, losses) == pytest.approx(theirs, abs=1e-12)
    observed = stats.binom.pmf(min(wins, losses), n, 0.5)
    lower_tail = stats.binom.cdf(min(wins, losses), n, 0.5)
    mid = min(1.0, 2 * lower_tail - observed)
    assert mcnemar(wins, losses, mid_p=True) == pytest.approx(mid, abs=1e-12)


def test_mcnemar_of_a_published_table() -> None:
    """Fagerland, Lydersen and Laake 2013: exact 0.070, mid-p 0.039."""
    assert round(float(mcnemar(1, 7)), 3) == 0.070
    assert round(float(mcnemar(1, 7, mid_p=True)), 3) == 0.039


def test_mcnemar_keeps_its_level_and_mid_p_comes_closer_to_it() -> None:
    exact, middle = [], []
    for n in range(5, 60):
        wins = np.arange(n + 1)
        chance = stats.binom.pmf(wins, n, 0.5)
        exact.append(chance[mcnemar(wins, n - wins) <= 0.05].sum())
        middle.append(chance[mcnemar(wins, n - wins, mid_p=True) <= 0.05].sum())
    assert max(exact) <= 0.05
    assert np.mean(exact) < np.mean(middle) <= 0.0525


def test_shapes_are_kept() -> None:
    assert mcnemar(np.ones((2, 3), int), 4).shape == (2, 3)
    assert wilson([[1, 2]], 4).low.shape == (1, 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: wilson(1, 0), "n is 0"),
        (lambda: wilson(3, 2), "more successes"),
        (lambda: wilson([], []), "empty"),
        (lambda: wilson(1.5, 2), "whole numbers"),
        (lambda: wilson(math.nan, 2), "whole numbers"),
        (lambda: wilson(1, 2, confidence=95), "between 0 and 1"),
        (lambda: paired_difference(2, 2, 3), "more than n"),
        (lambda: paired_difference(0, 0, 0), "n is 0"),
        (lambda: mcnemar(-1, 2), "negative"),
    ],
)
def test_what_is_refused(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
