"""The tests behind the signs, against values worked by hand or counted out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.diagnosis.curves.statistics import (
    block_means,
    chance,
    falling_fit,
    mean,
    noise,
    serial_z,
    trend,
    turns,
)

values = st.lists(st.integers(-50, 50), min_size=1, max_size=30)


def test_trend_by_hand():
    """Of 1, 3, 2, 4 five pairs rise and one falls: S = 4, variance 4 * 3 * 13 / 18 = 26 / 3.

    Slopes 2, 1/2, 1, -1, 1/2, 2 have the median 3/4, so from end to end it rises by 9/4.
    """
    found = trend(np.array([1.0, 3.0, 2.0, 4.0]))
    assert found.z == pytest.approx(3 / math.sqrt(26 / 3))
    assert found.rise == pytest.approx(9 / 4)


def test_the_trend_of_noise_has_the_stated_chance():
    """Over all orders of six values, the share of scores beyond z is at most what the law says."""
    scores = [trend(np.array(order, float)).z for order in itertools.permutations(range(6))]
    assert np.mean(np.array(scores) > 1.645) <= chance(1.645) + 0.01
    assert trend(np.ones(9)) == trend(np.ones(2)) == (0.0, 0.0)


@given(values, st.data())
def test_the_falling_fit_is_the_nearest_falling_curve(given_values, data):
    """Nearest in squares, by its characterisation: pools are means, and no falling move helps."""
    y = np.array(given_values, float)
    weights = np.array(
        data.draw(st.lists(st.integers(1, 5), min_size=len(y), max_size=len(y))), float
    )
    fit = falling_fit(y, weights)
    assert (np.diff(fit) <= 1e-9).all()
    assert (weights * (y - fit)).sum() == pytest.approx(0, abs=1e-6)
    # Every falling step function is a sum of steps down: none of them may reduce the squares.
    for k in range(len(y)):
        assert (weights * (y - fit))[: k + 1].sum() <= 1e-6


def test_falling_stairs_leave_nothing_over():
    stairs = np.array([3.0, 3.0, 2.0, 2.0, 0.5])
    assert falling_fit(stairs, np.ones(5)).tolist() == stairs.tolist()


def test_serial_z_is_bartels_by_hand():
    """Of ranks 0 to 9 in order the ratio is 9 / 82.5; its variance is 4 * 8 * 471 / 44550."""
    spread = math.sqrt(4 * 8 * (5 * 100 - 20 - 9) / (5 * 10 * 11 * 81))
    assert serial_z(np.arange(10.0)) == pytest.approx((2 - 9 / 82.5) / spread)
    assert serial_z(np.arange(9.0)) == 0.0


def test_serial_z_of_noise_is_standard_normal():
    rng = np.random.default_rng(0)
    found = [serial_z(rng.standard_cauchy(60)) for _ in range(400)]
    assert abs(np.mean(found)) < 0.15
    assert np.std(found) == pytest.approx(1, abs=0.15)


def test_turns_count_swings_and_not_ripples():
    wave = np.sin(np.arange(200) / 200 * 6 * math.pi)
    assert turns(wave, np.ones(200), 0.5) == 6  # three maxima and three minima
    assert turns(wave, np.ones(200), 3.0) == 0
    assert turns(np.linspace(1, 0, 50), np.ones(50), 0.1) == 0


def test_noise_knows_heavy_tails_slopes_and_small_batches():
    rng = np.random.default_rng(1)
    line = np.linspace(5, 1, 400)
    assert noise(line + rng.normal(0, 0.3, 400)) == pytest.approx(0.3, rel=0.15)
    spiked = line + rng.normal(0, 0.3, 400)
    spiked[::40] += 50
    assert noise(spiked) == pytest.approx(0.3, rel=0.3)
    weights = np.tile([1.0, 4.0], 200)
    uneven = line + rng.normal(0, 0.3, 400) / np.sqrt(weights)
    middle = 0.3 / math.sqrt(2.5)
    assert noise(uneven, weights) == pytest.approx(middle, rel=0.25)
    assert noise(np.ones(2)) == math.inf


def test_means_are_weighted():
    assert mean(np.array([1.0, 4.0]), np.array([2.0, 1.0])) == 2.0
    assert mean(np.array([1.0, 4.0]), np.zeros(2)) == 2.5
    blocks = block_means(np.array([1.0, 4.0, 7.0]), np.array([2.0, 1.0, 5.0]), 2)
    assert blocks.tolist() == [2.0, 7.0]
