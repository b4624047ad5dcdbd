from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.runs.curves import bucketed, epoch_marks, nice_ticks, smoothed, task_type_limit
from danlu.runs.history import Column

values = st.floats(-1e3, 1e3, allow_nan=False)


def column(points: list[float]) -> Column:
    return Column(array("d", range(1, len(points) + 1)), array("d", points))


@given(points=st.lists(values, min_size=1, max_size=300), limit=st.integers(1, 50))
def test_buckets_keep_the_extremes_and_the_sum(points, limit):
    found = bucketed(column(points), limit)
    assert found is not None
    assert len(found.x) == min(limit, len(points))
    assert max(found.high or found.y) == max(points)
    assert min(found.low or found.y) == min(points)
    assert list(found.x) == sorted(found.x)


def test_one_spike_in_a_hundred_thousand_rows_is_seen():
    points = [1.0] * 100_000
    points[54_321] = 50.0
    found = bucketed(column(points))
    assert found is not None
    assert len(found.x) == 800
    assert max(found.high) == 50.0
    assert max(found.y) < 1.5


def test_no_points_no_curve():
    assert bucketed(Column()) is None


@given(
    slope=st.floats(-10, 10),
    start=st.floats(-10, 10),
    width=st.floats(0.5, 20),
    steps=st.lists(st.integers(0, 500), min_size=3, max_size=60, unique=True).map(sorted),
)
def test_smoothing_leaves_a_straight_line_alone_to_its_ends(slope, start, width, steps):
    """What local linear regression is for: a moving average would bend both ends."""
    line = [start + slope * step for step in steps]
    assert smoothed(steps, line, width) == pytest.approx(line, abs=1e-4)


@given(points=st.lists(values, min_size=1, max_size=60), width=st.floats(0, 30))
def test_smoothing_stays_between_the_extremes(points, width):
    found = smoothed(range(len(points)), points, width)
    assert len(found) == len(points)
    assert min(points) <= min(found)
    assert max(found) <= max(points)


def test_smoothing_takes_noise_away():
    noisy = [1.0 + (0.5 if step % 2 else -0.5) for step in range(100)]
    found = smoothed(range(100), noisy, 3.0)
    assert max(abs(value - 1.0) for value in found[5:-5]) < 0.02


@given(low=values, span=st.floats(1e-3, 1e4), count=st.integers(2, 10))
def test_ticks_lie_within_and_are_round(low, span, count):
    high = low + span
    ticks = nice_ticks(low, high, count)
    assert len(ticks) <= count + 1
    assert all(low - 1e-6 * span <= tick <= high + 1e-6 * span for tick in ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 60, [0, 20, 40, 60]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.002, 0.0041, [0.002, 0.0025, 0.003, 0.0035, 0.004]),
        (3, 3, [3]),
    ],
)
def test_ticks_by_hand(low, high, ticks):
    assert nice_ticks(low, high, 5) == ticks


def test_epochs_that_are_nearly_whole_are_whole():
    """3 * (1 / 3) and its like come out as 0.9999999 or 1.0000001."""
    epochs = Column(array("d", [10, 20, 30]), array("d", [0.9999999, 2.0000001, 2.9999999]))
    assert [done for _, done in epoch_marks(epochs)] == [1, 2, 3]
    assert [step for step, _ in epoch_marks(epochs)] == pytest.approx([10, 20, 30])


def test_several_epochs_between_two_rows_are_all_marked():
    assert epoch_marks(Column(array("d", [40]), array("d", [4.0]))) == [
        (10, 1),
        (20, 2),
        (30, 3),
        (40, 4),
    ]


def test_many_task_types_share_the_points():
    assert task_type_limit(1) == 800
    assert task_type_limit(40) == 300
    assert task_type_limit(10_000) == 100
