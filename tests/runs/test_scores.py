from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.runs import ScoreRow
from danlu.runs.page import score_views
from danlu.runs.scores import MOST_BARS, histograms


def answers(record: str, *ranks_and_scores: tuple[int, float], task_type: str = "a/x"):
    return [
        ScoreRow(record=record, task_type=task_type, response=index, rank=rank, score=score)
        for index, (rank, score) in enumerate(ranks_and_scores)
    ]


def test_histograms_by_hand():
    """Seven scores from -0.5 to 1.5 and eight bars: a gap of 0.5 goes four times into 2."""
    rows = [
        *answers("r1", (1, 1.5), (2, 0.0), (3, -0.5)),
        *answers("r2", (2, 0.3), (5, 0.4)),
        *answers("r1", (1, 0.9), (2, 0.2), task_type="b/y"),
    ]
    found = histograms(rows)
    assert found is not None
    assert found.borders == (-0.5, 0.0, 0.5, 1.0, 1.5)
    x, y = found.task_types
    assert (x.name, x.best, x.others) == ("a/x", (0, 1, 0, 1), (1, 2, 0, 0))
    assert (x.records, x.on_top) == (2, 1)
    assert (y.name, y.best, y.others) == ("b/y", (0, 0, 1, 0), (0, 1, 0, 0))
    assert (y.best_mean, y.others_mean) == (0.9, 0.2)
    assert (found.overall.best, found.overall.others) == ((0, 1, 1, 1), (1, 3, 0, 0))
    assert (found.overall.records, found.overall.on_top) == (3, 2)


def test_answers_that_share_the_first_rank_are_all_best():
    found = histograms(answers("r", (1, 2.0), (1, -1.0), (2, 0.0)))
    assert found is not None
    assert (sum(found.overall.best), sum(found.overall.others)) == (2, 1)
    assert found.overall.on_top == 1


def test_a_tie_in_scores_is_not_on_top():
    found = histograms(answers("r", (1, 1.0), (2, 1.0)))
    assert found is not None
    assert (found.overall.on_top, found.overall.records) == (0, 1)
    assert found.borders == (0.5, 1.5)


def test_no_scores_no_histograms():
    assert histograms([]) is None
    assert score_views(None) == []


records = st.lists(
    st.lists(st.tuples(st.integers(1, 4), st.floats(-1e6, 1e6)), min_size=1, max_size=5),
    min_size=1,
    max_size=40,
)


@given(records=records, types=st.integers(1, 3))
def test_every_answer_is_counted_once_within_the_borders(records, types):
    rows = [
        row
        for number, own in enumerate(records)
        for row in answers(str(number), *own, task_type=f"a/{number % types}")
    ]
    found = histograms(rows)
    assert found is not None
    scores = [row.score for row in rows]
    assert list(found.borders) == sorted(set(found.borders))
    assert 1 <= len(found.borders) - 1 <= MOST_BARS + 2
    span = found.borders[-1] - found.borders[0]
    assert found.borders[0] <= min(scores) + 1e-6 * span
    assert found.borders[-1] >= max(scores) - 1e-6 * span
    assert sum(found.overall.best) + sum(found.overall.others) == len(rows)
    for part in ("best", "others"):
        by_type = [getattr(one, part) for one in found.task_types]
        assert getattr(found.overall, part) == tuple(map(sum, zip(*by_type, strict=True)))


def test_the_largest_task_types_are_drawn_by_name():
    rows = [
        row
        for index in range(20)
        for number in range(1 + index)
        for row in answers(f"r{number}", (1, 1.0), (2, 0.0), task_type=f"t/{index:02}")
    ]
    views = score_views(histograms(rows))
    assert [view.name for view in views] == ["", *(f"t/{index:02}" for index in range(8, 20))]
    assert views[1].id == "scores-9"
    assert views[0].on_top == "A best answer is on top in 210 of 210 records (100%)."


@pytest.mark.parametrize("others", [(), ((1, 0.5),)])
def test_records_with_nothing_to_compare_are_not_counted_as_compared(others):
    found = histograms(answers("r", (1, 1.0), *others))
    assert found is not None
    assert found.overall.records == 0
    assert score_views(found)[0].on_top == ""
