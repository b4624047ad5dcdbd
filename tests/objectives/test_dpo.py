"""DPO and its relatives: by hand, against TRL, and at the ends of the number line."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RecipeError
from danlu.objectives.dpo import LOSSES, Dpo
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


HAND = {
    # beta h = 1.5 and -1.5
    "sigmoid": (Dpo(beta=0.5), [nats(1.5), nats(-1.5)]),
    "smoothed": (
        Dpo(beta=0.5, label_smoothing=0.1),
        [0.9 * nats(1.5) + 0.1 * nats(-1.5), 0.9 * nats(-1.5) + 0.1 * nats(1.5)],
    ),
    "robust": (
        Dpo(beta=0.5, loss="robust", label_smoothing=0.1),
        [(0.9 * nats(1.5) - 0.1 * nats(-1.5)) / 0.8, (0.9 * nats(-1.5) - 0.1 * nats(1.5)) / 0.8],
    ),
    "robust without flips": (Dpo(beta=0.5, loss="robust"), [nats(1.5), nats(-1.5)]),
    "hinge": (Dpo(beta=0.5, loss="hinge"), [0.0, 2.5]),
    # per token h = 1/4 + 2/8 = 0.5 and -2/10 - 1/5 = -0.4; aim 1 / (2 beta) = 1
    "ipo": (Dpo(beta=0.5, loss="ipo"), [0.5**2, 1.4**2]),
    "ipo over sums": (Dpo(beta=0.5, loss="ipo", length_normalised=False), [2.0**2, 4.0**2]),
    "per token": (Dpo(beta=0.5, length_normalised=True), [nats(0.25), nats(-0.2)]),
    "hinge per token": (Dpo(beta=0.5, loss="hinge", length_normalised=True), [0.75, 1.2]),
    # nll of the chosen is 3 nats a token in both
    "sft": (Dpo(beta=0.5, sft_weight=2.0), [nats(1.5) + 6, nats(-1.5) + 6]),
    "ipo and sft": (Dpo(beta=0.5, loss="ipo", sft_weight=2.0), [0.5**2 + 6, 1.4**2 + 6]),
}


@pytest.mark.parametrize(("objective", "expected"), HAND.values(), ids=HAND.keys())
def test_losses_by_hand(objective, expected):
    assert objective.terms(hand_pairs()).loss_P.tolist() == pytest.approx(expected, rel=1e-12)


def test_rewards_by_hand():
    """beta times the log-ratios (1, -2) and (-2, 1); per token over 4, 8, 10 and 5 of them."""
    terms = Dpo(beta=0.5).terms(hand_pairs())
    assert terms.chosen_reward_P.tolist() == [0.5, -1.0]
    assert terms.rejected_reward_P.tolist() == [-1.0, 0.5]
    assert terms.margin_P.tolist() == [1.5, -1.5]
    terms = Dpo(beta=0.5, length_normalised=True).terms(hand_pairs())
    assert terms.chosen_reward_P.tolist() == pytest.approx([0.5 / 4, -1 / 10])
    assert terms.rejected_reward_P.tolist() == pytest.approx([-1 / 8, 0.5 / 5])
    assert terms.margin_P.tolist() == pytest.approx([0.25, -0.2])


def test_the_gradient_is_that_of_the_paper():
    """Rafailov et al., Section 4: each completion is weighed by beta s(-beta h)."""
    pairs = hand_pairs()
    Dpo(beta=0.5).terms(pairs).loss_P.sum().backward()
    weights = [0.5 / (1 + math.exp(1.5)), 0.5 / (1 + math.exp(-1.5))]
    assert (-pairs.chosen_P.grad).tolist() == pytest.approx(weights)
    assert pairs.rejected_P.grad.tolist() == pytest.approx(weights)


@pytest.mark.parametrize("objective", [one for one, _ in HAND.values()], ids=HAND.keys())
def test_gradients_reach_the_policy_alone(objective):
    """The hinge's kink, at beta h = 1, is away from all of these pairs."""
    assert_smooth(objective, reference=True)


TRL = {
    "sigmoid": (Dpo(beta=0.3), {}),
    "robust": (Dpo(beta=0.3, loss="robust", label_smoothing=0.2), {"label_smoothing": 0.2}),
    "hinge": (Dpo(beta=0.3, loss="hinge"), {}),
    "ipo": (Dpo(beta=0.3, loss="ipo"), {}),
    "per token": (Dpo(beta=0.3, length_normalised=True), {"loss_types": ["sigmoid_norm"]}),
    "sft": (
        Dpo(beta=0.3, sft_weight=0.7),
        {"loss_types": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]},
    ),
}


@pytest.mark.parametrize(("objective", "settings"), TRL.values(), ids=TRL.keys())
@pytest.mark.parametrize(("chosen_tokens", "rejected_tokens"), [(5, 3), (1, 6)])
def test_equals_trl(objective, settings, chosen_tokens, rejected_tokens):
    """On the same log-probabilities of tokens: loss, gradient and rewards of a pair."""
    torch.manual_seed(chosen_tokens)
    completion_2T = torch.zeros(2, 6, dtype=torch.int64)
    completion_2T[0, :chosen_tokens] = 1
    completion_2T[1, :rejected_tokens] = 1
    policy_2T = (-3 * torch.rand(2, 6, dtype=torch.float64) * completion_2T).requires_grad_()
    reference_2 = policy_2T.detach().sum(1) + torch.randn(2, dtype=torch.float64)
    settings = {
        "loss_types": [objective.loss],
        "loss_weights": [1.0],
        "beta": objective.beta,
        "label_smoothing": 0.0,
        **settings,
    }
    expected, reported = trl_reference.dpo(policy_2T, completion_2T, reference_2, **settings)
    terms = objective.terms(
        Pairs(*policy_2T.sum(1).split(1), *reference_2.split(1), *completion_2T.sum(1).split(1))
    )
    torch.testing.assert_close(terms.loss_P, expected.unsqueeze(0), rtol=1e-10, atol=1e-12)
    found_grad, expected_grad = (
        torch.autograd.grad(loss.sum(), policy_2T)[0] for loss in (terms.loss_P, expected)
    )
    torch.testing.assert_close(found_grad * completion_2T, expected_grad * completion_2T)
    if not objective.length_normalised and objective.loss != "ipo":
        assert terms.chosen_reward_P.item() == pytest.approx(reported["rewards/chosen"][0])
        assert terms.rejected_reward_P.item() == pytest.approx(reported["rewards/rejected"][0])
        assert terms.margin_P.item() == pytest.approx(reported["rewards/margins"][0])


@given(gap=st.floats(-50, 50), share=st.floats(0, 0.45))
def test_robust_is_unbiased_under_flips(gap, share):
    """Flip a share of the labels: its mean is the loss of the true label."""
    zero, tokens = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.int64)
    gap_P = torch.tensor([gap], dtype=torch.float64)
    true, flipped = (Pairs(one, zero, zero, zero, tokens, tokens) for one in (gap_P, -gap_P))
    robust = Dpo(loss="robust", label_smoothing=share)
    mean = (1 - share) * robust.terms(true).loss_P + share * robust.terms(flipped).loss_P
    torch.testing.assert_close(mean, Dpo().terms(true).loss_P, rtol=1e-9, atol=1e-9)


@given(pairs=some_pairs())
def test_swapping_a_pair_costs_its_log_ratio(pairs):
    """-log s(x) + log s(-x) = -x."""
    swapped = Pairs(*(pairs[index] for index in (1, 0, 3, 2, 5, 4)))
    terms, other = Dpo().terms(pairs), Dpo().terms(swapped)
    torch.testing.assert_close(terms.loss_P - other.loss_P, -terms.margin_P)
    torch.testing.assert_close(other.margin_P, -terms.margin_P)


@given(pairs=some_pairs(), data=st.data(), loss=st.sampled_from(LOSSES))
def test_sums_add_up_and_order_is_free(pairs, data, loss):
    smoothing = 0.1 if loss in ("sigmoid", "robust") else 0.0
    objective = Dpo(loss=loss, label_smoothing=smoothing, sft_weight=0.5)
    number = len(pairs.chosen_P)
    assert_adds_up(objective, pairs, data.draw(st.integers(0, number)))
    assert_order_is_free(objective, pairs, data.draw(st.permutations(range(number))))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_large_log_ratios_stay_finite(loss, gap):
    """At beta 0.1 the logistic losses are 0 or 1,000 nats, and their slopes 0 or -0.1."""
    chosen = torch.tensor([gap], requires_grad=True)
    zero, tokens = torch.zeros(1), torch.ones(1, dtype=torch.int64)
    loss_P = Dpo(loss=loss).terms(Pairs(chosen, zero, zero, zero, tokens, tokens)).loss_P
    loss_P.backward()
    expected = {
        "ipo": ((gap - 5) ** 2, 2 * (gap - 5)),
        "hinge": (max(0.0, 1 - 0.1 * gap), -0.1 if gap < 0 else 0.0),
    }.get(loss, (max(0.0, -0.1 * gap), -0.1 if gap < 0 else 0.0))
    assert (loss_P.item(), chosen.grad.item()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["sigmoid", "robust", "hinge"])
def test_an_impossible_rejected_completion_costs_nothing(loss):
    zero, tokens = torch.zeros(1), torch.ones(1, dtype=torch.int64)
    pairs = Pairs(zero, zero - torch.inf, zero, zero, tokens, tokens)
    assert Dpo(loss=loss).terms(pairs).loss_P.tolist() == [0.0]


def test_float32_is_kept():
    assert Dpo().terms(hand_pairs(torch.float32)).loss_P.dtype == torch.float32


def test_bad_pairs_are_refused():
    assert_bad_pairs_are_refused(Dpo())
    with pytest.raises(ValueError, match="needs the reference's log-probabilities; they are None"):
        Dpo().terms(hand_pairs(reference=False))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "sigmod"}, r"objective.loss: 'sigmod' is unknown. Did you mean 'sigmoid'\?"),
        ({"beta": 0.0}, r"objective.beta: is 0.0; it must be above 0. 0.1 is usual."),
        ({"beta": math.inf}, r"objective.beta: is inf; it must be finite and above 0."),
        (
            {"label_smoothing": 0.5},
            r"objective.label_smoothing: is 0.5; it must be at least 0 and below 0.5. .* use 0",
        ),
        ({"sft_weight": -1.0}, r"objective.sft_weight: is -1.0; it must be at least 0. 0 leaves"),
        (
            {"loss": "ipo", "label_smoothing": 0.1},
            r"objective.label_smoothing: is 0.1, but the loss 'ipo' has none. Set it to 0, or use",
        ),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Dpo(**settings)
