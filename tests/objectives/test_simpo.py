"""SimPO by hand and against TRL."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RecipeError
from danlu.objectives.pairs import Pairs
from danlu.objectives.simpo import Simpo
from tests.objectives import trl_reference
from tests.objectives.pair_cases import (
    assert_adds_up,
    assert_bad_pairs_are_refused,
    assert_order_is_free,
    assert_smooth,
    hand_pairs,
    some_pairs,
)


def nats(x: float) -> float:
    """-log s(x)."""
    return math.log1p(math.exp(-x))


def test_by_hand():
    """Means per token: -12/4 = -3 and -20/8 = -2.5; -30/10 = -3 and -25/5 = -5.

    Times beta = 2 the rewards are -6, -5 and -6, -10; less gamma = 0.5 the gaps -1.5 and 3.5.
    """
    terms = Simpo(beta=2.0, gamma=0.5).terms(hand_pairs(reference=False))
    assert terms.loss_P.tolist() == pytest.approx([nats(-1.5), nats(3.5)])
    assert terms.chosen_reward_P.tolist() == [-6.0, -6.0]
    assert terms.rejected_reward_P.tolist() == [-5.0, -10.0]
    assert terms.margin_P.tolist() == [-1.0, 4.0]
    terms = Simpo(beta=2.0, gamma=0.0, sft_weight=0.5).terms(hand_pairs(reference=False))
    assert terms.loss_P.tolist() == pytest.approx([nats(-1.0) + 1.5, nats(4.0) + 1.5])


@pytest.mark.parametrize("sft_weight", [0.0, 0.5])
def test_gradients_reach_the_policy_alone(sft_weight):
    assert_smooth(Simpo(sft_weight=sft_weight))


def test_equals_trl():
    torch.manual_seed(0)
    chosen_P, rejected_P = (-5 * torch.rand(2, 7, dtype=torch.float64)).unbind()
    chosen_P.requires_grad_()
    rejected_P.requires_grad_()
    expected_P, *rewards = trl_reference.cpo(
        chosen_P, rejected_P, loss_type="simpo", beta=2.5, simpo_gamma=1.3, label_smoothing=0.0
    )
    three, four = torch.full((7,), 3), torch.full((7,), 4)
    terms = Simpo(beta=2.5, gamma=1.3).terms(
        Pairs(chosen_P * 3, rejected_P * 4, None, None, three, four)
    )
    torch.testing.assert_close(terms.loss_P, expected_P)
    torch.testing.assert_close([terms.chosen_reward_P, terms.rejected_reward_P], rewards)
    torch.testing.assert_close(
        torch.autograd.grad(terms.loss_P.sum(), (chosen_P, rejected_P)),
        torch.autograd.grad(expected_P.sum(), (chosen_P, rejected_P)),
    )


@given(pairs=some_pairs(reference=False), times=st.integers(2, 9))
def test_saying_it_again_is_no_advantage(pairs, times):
    """A completion that goes on at the same nats per token has the same terms."""
    longer = pairs._replace(
        rejected_P=pairs.rejected_P * times, rejected_tokens_P=pairs.rejected_tokens_P * times
    )
    for one, other in zip(Simpo().terms(longer), Simpo().terms(pairs), strict=True):
        torch.testing.assert_close(one, other)


@given(pairs=some_pairs(reference=False), data=st.data())
def test_sums_add_up_and_order_is_free(pairs, data):
    number, objective = len(pairs.chosen_P), Simpo(sft_weight=0.5)
    assert_adds_up(objective, pairs, data.draw(st.integers(0, number)))
    assert_order_is_free(objective, pairs, data.draw(st.permutations(range(number))))


@pytest.mark.parametrize(("chosen", "loss", "slope"), [(1e4, 0.0, 0.0), (-1e4, 2e4 + 1, -2.0)])
def test_large_gaps_stay_finite(chosen, loss, slope):
    chosen_P = torch.tensor([chosen], requires_grad=True)
    one = torch.ones(1, dtype=torch.int64)
    loss_P = Simpo().terms(Pairs(chosen_P, torch.zeros(1), None, None, one, one)).loss_P
    loss_P.backward()
    assert (loss_P.item(), chosen_P.grad.item()) == pytest.approx((loss, slope))


def test_bad_pairs_are_refused():
    assert_bad_pairs_are_refused(Simpo())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0.0}, r"objective.beta: is 0.0; it must be above 0. 2 to 10 is usual."),
        ({"gamma": -0.1}, r"objective.gamma: is -0.1; it must be at least 0. 0 to beta is usual."),
        ({"sft_weight": math.nan}, r"objective.sft_weight: is nan; it must be finite and at least"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Simpo(**settings)
