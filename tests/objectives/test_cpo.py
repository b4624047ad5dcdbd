"""CPO by hand, against TRL, and as DPO with a reference that likes everything alike."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RecipeError
from danlu.objectives.cpo import Cpo
from danlu.objectives.dpo import Dpo
from danlu.objectives.pairs import Pairs
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
    """h = 8 and -5, so beta h = 2 and -1.25; the chosen completions have 3 nats a token."""
    terms = Cpo(beta=0.25).terms(hand_pairs(reference=False))
    assert terms.loss_P.tolist() == pytest.approx([nats(2.0) + 3, nats(-1.25) + 3])
    assert terms.chosen_reward_P.tolist() == [-3.0, -7.5]
    assert terms.rejected_reward_P.tolist() == [-5.0, -6.25]
    assert terms.margin_P.tolist() == [2.0, -1.25]
    smoothed = Cpo(beta=0.25, label_smoothing=0.1, sft_weight=0.0).terms(hand_pairs())
    assert smoothed.loss_P.tolist() == pytest.approx(
        [0.9 * nats(2.0) + 0.1 * nats(-2.0), 0.9 * nats(-1.25) + 0.1 * nats(1.25)]
    )


@pytest.mark.parametrize("objective", [Cpo(), Cpo(label_smoothing=0.2, sft_weight=0.0)])
def test_gradients_reach_the_policy_alone(objective):
    assert_smooth(objective)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_equals_trl(label_smoothing):
    """The preference term; TRL adds the nll as a mean over the tokens of a micro-batch."""
    torch.manual_seed(0)
    chosen_P, rejected_P = (-50 * torch.rand(2, 7, dtype=torch.float64)).unbind()
    chosen_P.requires_grad_()
    rejected_P.requires_grad_()
    expected_P, *rewards = trl_reference.cpo(
        chosen_P, rejected_P, loss_type="sigmoid", beta=0.3, label_smoothing=label_smoothing
    )
    tokens_P = torch.arange(1, 8)
    expected_P = expected_P - 0.7 * chosen_P / tokens_P
    terms = Cpo(beta=0.3, label_smoothing=label_smoothing, sft_weight=0.7).terms(
        Pairs(chosen_P, rejected_P, None, None, tokens_P, tokens_P.flip(0))
    )
    torch.testing.assert_close(terms.loss_P, expected_P)
    torch.testing.assert_close([terms.chosen_reward_P, terms.rejected_reward_P], rewards)
    torch.testing.assert_close(
        torch.autograd.grad(terms.loss_P.sum(), (chosen_P, rejected_P)),
        torch.autograd.grad(expected_P.sum(), (chosen_P, rejected_P)),
    )


@given(pairs=some_pairs(reference=False), level=st.floats(-300, 0), share=st.floats(0, 0.4))
def test_is_dpo_with_a_uniform_reference(pairs, level, share):
    uniform = torch.full_like(pairs.chosen_P, level)
    with_reference = pairs._replace(chosen_reference_P=uniform, rejected_reference_P=uniform)
    found = Cpo(label_smoothing=share, sft_weight=0.5).terms(pairs)
    expected = Dpo(label_smoothing=share, sft_weight=0.5).terms(with_reference)
    torch.testing.assert_close(found.loss_P, expected.loss_P)
    torch.testing.assert_close(found.margin_P, expected.margin_P, rtol=1e-6, atol=1e-9)


@given(pairs=some_pairs(reference=False), data=st.data())
def test_sums_add_up_and_order_is_free(pairs, data):
    number, objective = len(pairs.chosen_P), Cpo(label_smoothing=0.1)
    assert_adds_up(objective, pairs, data.draw(st.integers(0, number)))
    assert_order_is_free(objective, pairs, data.draw(st.permutations(range(number))))


@pytest.mark.parametrize(("chosen", "loss", "slope"), [(1e4, 0.0, 0.0), (-1e4, 1e3, -0.1)])
def test_large_gaps_stay_finite(chosen, loss, slope):
    chosen_P = torch.tensor([chosen], requires_grad=True)
    one = torch.ones(1, dtype=torch.int64)
    pairs = Pairs(chosen_P, torch.zeros(1), None, None, one, one)
    loss_P = Cpo(sft_weight=0.0).terms(pairs).loss_P
    loss_P.backward()
    assert (loss_P.item(), chosen_P.grad.item()) == pytest.approx((loss, slope))


def test_an_impossible_rejected_completion_costs_nothing():
    zero, one = torch.zeros(1), torch.ones(1, dtype=torch.int64)
    assert Cpo().terms(Pairs(zero, zero - torch.inf, None, None, one, one)).loss_P.tolist() == [0.0]


def test_bad_pairs_are_refused():
    assert_bad_pairs_are_refused(Cpo())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0.0}, r"objective.beta: is 0.0; it must be above 0. 0.1 is usual."),
        (
            {"label_smoothing": 0.5},
            r"objective.label_smoothing: is 0.5; it must be at least 0 and below 0.5. At 0.5",
        ),
        ({"sft_weight": -1.0}, r"objective.sft_weight: is -1.0; it must be at least 0. 1 is usual"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Cpo(**settings)
