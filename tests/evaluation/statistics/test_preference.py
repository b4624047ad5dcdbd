"""Win rates: Tango's interval, and length taken out, against simulation and worked cases."""

import numpy as np
import pytest
from scipy.optimize import minimize

from danlu.evaluation.statistics.preference import length_controlled, win_rate
from danlu.evaluation.statistics.proportions import paired_difference


def test_a_win_rate_is_half_of_the_paired_difference() -> None:
    """7 wins, 1 loss of 21: 1/2 + 6/42."""
    found = win_rate([1] * 7 + [0] + [0.5] * 13)
    low, high = paired_difference(7, 1, 21)
    assert found.value == pytest.approx(0.5 + 6 / 42)
    assert found[1:] == pytest.approx((0.5 + low / 2, 0.5 + high / 2))
    everything = win_rate([1.0] * 10)
    assert everything.low < 0.8
    assert everything.high == 1


def test_pairs_that_share_a_document_tell_less() -> None:
    wins = np.repeat([1, 0, 1, 1, 0, 1, 1, 0, 1, 1], 8).astype(float)
    clusters = np.repeat(np.arange(10), 8)
    alone, together = win_rate(wins), win_rate(wins, clusters)
    assert together.value == alone.value == pytest.approx(0.7)
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert win_rate(wins, np.arange(80)) == alone
    assert win_rate(wins, np.zeros(80)) == (pytest.approx(0.7), 0, 1)


@pytest.mark.parametrize("wins", [[], [0.25], [None]])
def test_what_is_no_pair_is_refused(wins) -> None:
    with pytest.raises(ValueError):
        win_rate(wins)


def test_the_fit_maximises_the_penalised_likelihood() -> None:
    """Against SciPy on Firth's objective: log likelihood + log det(information) / 2."""
    rng = np.random.default_rng(0)
    longer = rng.normal(0.3, 1, 40)
    wins = rng.choice([0, 0.5, 1], 40, p=[0.2, 0.2, 0.6])
    x = np.column_stack([np.ones(40), np.tanh(longer / np.sqrt((longer**2).mean()))])

    def loss(beta):
        p = 1 / (1 + np.exp(-(x @ beta)))
        information = x.T @ (x * (p * (1 - p))[:, None])
        fit = (wins * np.log(p) + (1 - wins) * np.log(1 - p)).sum()
        return -fit - np.log(np.linalg.det(information)) / 2

    best = minimize(loss, np.zeros(2), tol=1e-12).x
    found = length_controlled(wins, longer)
    assert found.rate.value == pytest.approx(1 / (1 + np.exp(-best[0])), abs=1e-5)
    assert found.effect == pytest.approx(best[1], abs=1e-5)


def test_a_judge_that_loves_length_is_seen_through() -> None:
    """B is longer, the judge adds 1.5 to the log-odds for length, and there is no other difference.

    The raw win rate says 0.6, the controlled 0.5; its interval holds 0.5 in about 95 of 100.
    """
    rng = np.random.default_rng(1)
    raw, controlled, held = [], [], 0
    repetitions = 300
    for _ in range(repetitions):
        longer = rng.normal(0.5, 1, 120)
        p = 1 / (1 + np.exp(-1.5 * np.tanh(longer / np.sqrt(1.25))))
        wins = (rng.random(120) < p).astype(float)
        found = length_controlled(wins, longer)
        raw.append(wins.mean())
        controlled.append(found.rate.value)
        held += found.rate.low <= 0.5 <= found.rate.high
    assert np.mean(raw) > 0.59
    assert abs(np.mean(controlled) - 0.5) < 0.01
    assert 0.92 <= held / repetitions <= 0.98


def test_borders_are_finite_and_said() -> None:
    won = length_controlled([1.0] * 8, [1, 2, -1, 0.5, 0, 1, -2, 1])
    assert 0.8 < won.rate.value < 1
    assert won.rate.low < 0.8
    level = length_controlled([1, 0, 1, 1], [0, 0, 0, 0])
    assert level.effect is None
    assert 0.5 < level.rate.value < 0.75
    assert length_controlled([1, 0, 1, 1], [2, 2, 2, 2]).effect is None
    for wins, longer in (([1], [0]), ([2, 0], [0, 1]), ([1, 0], [0])):
        with pytest.raises(ValueError):
            length_controlled(wins, longer)


def test_clusters_widen_the_controlled_interval() -> None:
    rng = np.random.default_rng(2)
    wins = np.repeat(rng.random(30) < 0.6, 6).astype(float)
    longer = rng.normal(0, 1, 180)
    clusters = np.repeat(np.arange(30), 6)
    alone = length_controlled(wins, longer).rate
    together = length_controlled(wins, longer, clusters=clusters).rate
    assert together.value == alone.value
    assert together.high - together.low > 1.8 * (alone.high - alone.low)
