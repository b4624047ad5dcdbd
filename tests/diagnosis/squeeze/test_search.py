"""Bisection with two edges, against verdicts that are known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.diagnosis.squeeze.knob import Knob, epochs_knob, over_named, rate_knob, share_knob
from danlu.diagnosis.squeeze.search import Verdict, ending, next_setting
from danlu.errors import RecipeError


def searched(
    knob: Knob, learned_from: float, kept_to: float, known: dict[float, Verdict] | None = None
) -> dict[float, Verdict]:
    """Go on until nothing more can be told apart."""
    tried = dict(known or {})
    while (setting := next_setting(knob, tried)) is not None:
        assert setting not in tried
        tried[setting] = Verdict(setting >= learned_from, setting <= kept_to)
        assert len(tried) < 40
    return tried


def test_the_recipes_own_setting_is_tried_first_and_then_the_wider_gap_is_halved():
    tried = searched(share_knob(0.4), 0.25, 0.7, {1.0: Verdict(learned=True, kept=False)})
    assert list(tried) == [1.0, 0.4, 0.7, 0.2, 0.85, 0.3, 0.775, 0.25, 0.738]
    #   the upper gap (0.4, 1) is the wider one; 0.7 fits, so what is left is (0.7, 1) and (0, 0.4)
    assert sorted(one for one, verdict in tried.items() if verdict.fits) == [0.25, 0.3, 0.4, 0.7]


def test_until_something_fits_the_gap_that_must_hold_it_is_halved():
    tried = searched(share_knob(0.8), 0.3, 0.33, {1.0: Verdict(learned=True, kept=False)})
    assert list(tried)[:5] == [1.0, 0.8, 0.4, 0.2, 0.3]
    assert ending(tried) == "found"


def test_apart_where_the_task_is_learned_too_much_is_forgotten():
    tried = searched(share_knob(0.5), 0.6, 0.3)
    assert ending(tried) == "apart"
    learned = min(one for one, verdict in tried.items() if verdict.learned)
    assert learned - max(one for one in tried if one < learned) <= 0.05 + 1e-9


def test_what_is_not_learned_with_the_most_is_learned_with_no_less():
    tried = {1.0: Verdict(learned=False, kept=True)}
    assert next_setting(share_knob(0.5), tried) is None
    assert ending(tried) == "never-learned"
    # Where chance has it otherwise, what fits counts.
    assert next_setting(share_knob(0.5), tried | {0.5: Verdict(learned=True, kept=True)})


def test_learning_rates_are_halved_by_ratio():
    tried = searched(rate_knob(4e-4), 2e-5, 1e-4)
    assert list(tried)[:2] == [4e-4, 7.07e-5]  # sqrt(4e-4 / 32 * 4e-4)
    lowest, highest = min(tried), max(tried)
    assert lowest > 4e-4 / 32
    assert highest == 4e-4
    assert ending(tried) == "found"


@given(
    st.sampled_from(["share", "learning_rate", "epochs"]),
    st.floats(0.02, 0.98),
    st.floats(0.02, 0.98),
    st.floats(0.02, 0.98),
)
def test_a_window_wider_than_the_resolution_is_found_and_an_empty_one_said(
    over: str, first: float, second: float, own: float
):
    """Rounding moves a setting by at most a hundredth of the resolution."""
    knob = {"share": share_knob, "learning_rate": rate_knob, "epochs": epochs_knob}[over](own)
    if over == "epochs":
        knob = epochs_knob(own * 10)

    def at(part: float) -> float:
        if knob.is_ratio:
            return knob.low * (knob.high / knob.low) ** part
        return knob.low + part * (knob.high - knob.low)

    learned_from, kept_to = at(first), at(second)
    tried = searched(knob, learned_from, kept_to)
    if learned_from > kept_to:
        assert ending(tried) in ("apart", "never-learned")
    elif knob.gap(learned_from, kept_to) > 1.1:
        assert ending(tried) == "found"
    bits = math.log2(knob.gap(knob.low, knob.high))
    assert len(tried) <= 2 * (math.ceil(bits) + 1) + 1


@pytest.mark.parametrize(
    ("over", "low", "high"),
    [("share", 0.5, 0.5), ("share", 0.1, 1.5), ("learning_rate", 0.0, 1.0), ("epochs", -1.0, 2.0)],
)
def test_a_range_must_be_one(over, low, high):
    with pytest.raises(RecipeError, match="the range must"):
        Knob(over, low, high, 0.3, 0.05)


def test_what_can_be_varied():
    assert over_named("epochs") == "epochs"
    with pytest.raises(RecipeError, match=r"'shares' cannot be varied.*'share'"):
        over_named("shares")
