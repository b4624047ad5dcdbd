"""ORPO by hand, against TRL, and where probabilities are 0 or 1 to the last bit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RecipeError
from danlu.objectives.orpo import Orpo, log_odds
from danlu.objectives.pairs import Pairs
from tests.objectives import trl_reference
from tests.objectives.pair_cases import (
    assert_adds_up,
    assert_bad_pairs_are_refused,
    assert_order_is_free,
    assert_smooth,
    some_pairs,
)


def pairs_of(chosen_mean, rejected_mean, dtype=torch.float64):
    """One pair of 3 and 2 tokens with these mean probabilities of a token."""
    chosen, rejected = (
        torch.tensor([tokens * math.log(mean)], dtype=dtype)
        for tokens, mean in ((3, chosen_mean), (2, rejected_mean))
    )
    return Pairs(chosen, rejected, None, None, torch.tensor([3]), torch.tensor([2]))


def test_by_hand():
    """Odds 0.8 / 0.2 = 4 and 0.25 / 0.75 = 1/3; their ratio is 12, and s(log 12) = 12/13."""
    terms = Orpo(beta=0.5).terms(pairs_of(0.8, 0.25))
    assert terms.loss_P.tolist() == pytest.approx([-math.log(0.8) + 0.5 * math.log(13 / 12)])
    assert terms.chosen_reward_P.tolist() == pytest.approx([0.5 * math.log(0.8)])
    assert terms.rejected_reward_P.tolist() == pytest.approx([0.5 * math.log(0.25)])
    assert terms.margin_P.tolist() == pytest.approx([0.5 * math.log(3.2)])


def test_gradients_reach_the_policy_alone():
    assert_smooth(Orpo(beta=0.5))


def test_equals_trl():
    """The penalty, on mean log-probabilities; TRL takes its nll over the prompt too."""
    torch.manual_seed(0)
    chosen_P, rejected_P = (-5 * torch.rand(2, 7)).unbind()
    chosen_P.requires_grad_()
    rejected_P.requires_grad_()
    tokens_P = torch.arange(1, 8)
    gain_P, chosen_reward_P, rejected_reward_P = trl_reference.orpo(chosen_P, rejected_P, beta=0.3)
    expected_P = -chosen_P - gain_P
    terms = Orpo(beta=0.3).terms(
        Pairs(chosen_P * tokens_P, rejected_P * 4, None, None, tokens_P, torch.full((7,), 4))
    )
    torch.testing.assert_close(terms.loss_P, expected_P)
    torch.testing.assert_close(terms.chosen_reward_P, chosen_reward_P)
    torch.testing.assert_close(terms.rejected_reward_P, rejected_reward_P)
    for found, expected in zip(
        torch.autograd.grad(terms.loss_P.sum(), (chosen_P, rejected_P)),
        torch.autograd.grad(expected_P.sum(), (chosen_P, rejected_P)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@given(pairs=some_pairs(reference=False), data=st.data())
def test_sums_add_up_and_order_is_free(pairs, data):
    number = len(pairs.chosen_P)
    assert_adds_up(Orpo(), pairs, data.draw(st.integers(0, number)))
    assert_order_is_free(Orpo(), pairs, data.draw(st.permutations(range(number))))


@given(mean=st.floats(1e-6, 1 - 1e-6))
def test_log_odds_of_the_complement_are_opposite(mean):
    one, other = (torch.tensor(x, dtype=torch.float64).log() for x in (mean, 1 - mean))
    torch.testing.assert_close(log_odds(one), -log_odds(other), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_odds_at_the_ends(dtype):
    """Certain: P = 1 - eps to first order, so odds 1 / eps. Hopeless: odds P itself."""
    logprob = torch.tensor([0.0, -1e-30, -1e4], dtype=dtype, requires_grad=True)
    odds = log_odds(logprob)
    odds.sum().backward()
    certain = -math.log(torch.finfo(dtype).eps)
    assert odds.tolist() == pytest.approx([certain, certain, -1e4], rel=1e-6)
    assert logprob.grad.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(("chosen", "rejected"), [(0.0, 0.0), (0.0, -1e4), (-1e4, 0.0)])
def test_extreme_completions_stay_finite(chosen, rejected):
    """The nll is -chosen, and the penalty the difference of log odds where that is negative."""
    chosen_P = torch.tensor([chosen], requires_grad=True)
    rejected_P = torch.tensor([rejected], requires_grad=True)
    one = torch.ones(1, dtype=torch.int64)
    loss_P = Orpo(beta=1.0).terms(Pairs(chosen_P, rejected_P, None, None, one, one)).loss_P
    loss_P.backward()
    certain = -math.log(torch.finfo(torch.float32).eps)
    expected = {
        (0.0, 0.0): math.log(2),
        (0.0, -1e4): 0.0,
        (-1e4, 0.0): 1e4 + 1e4 + certain,
    }[chosen, rejected]
    assert loss_P.item() == pytest.approx(expected, rel=1e-6)
    assert math.isfinite(chosen_P.grad.item())
    assert math.isfinite(rejected_P.grad.item())


def test_bad_pairs_are_refused():
    assert_bad_pairs_are_refused(Orpo())


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_bad_settings_are_refused(beta):
    with pytest.raises(RecipeError, match=r"objective.beta: is .*it must be .*above 0. 0.1 is"):
        Orpo(beta=beta)
