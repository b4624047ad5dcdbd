"""PPO piece by piece: rewards, advantages, whitening, clipping, divergences, entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RecipeError, TrainingError
from danlu.objectives.ppo import (
    Moments,
    Ppo,
    Rollout,
    advantages,
    check_rewards,
    clipped_surrogate,
    entropy,
    kl_estimates,
    moments,
    penalised_rewards,
    whitened,
)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_penalised_rewards_by_hand():
    """Completions of 2 and 3 tokens at 0.5 a nat; rewards 4 and -1 on their last tokens."""
    old_T = numbers(-1.0, -2.0, -1.0, -3.0, -0.5).requires_grad_()
    reference_T = numbers(-2.0, -1.0, -1.0, -1.0, -2.5)
    found_T = penalised_rewards(
        torch.tensor([4, -1]), old_T, reference_T, torch.tensor([2, 3]), kl_weight=0.5
    )
    assert found_T.tolist() == [-0.5, 0.5 + 4, 0.0, 1.0, -1 - 1]
    assert not found_T.requires_grad


floats = st.floats(-10, 10)


@st.composite
def some_rollouts(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rewards and values of one to five completions of one to six tokens."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    total = sum(lengths)
    rewards, values = (draw(st.lists(floats, min_size=total, max_size=total)) for _ in range(2))
    return numbers(*rewards), numbers(*values), torch.tensor(lengths)


def slow_advantages(rewards, values, gamma, gae_lambda):
    """Schulman et al. 2015, Eq. 16, as it is written: sum over l of (gamma lambda)^l d_{t+l}."""
    tokens = len(rewards)
    surprises = [
        rewards[t] + gamma * (values[t + 1] if t + 1 < tokens else 0.0) - values[t]
        for t in range(tokens)
    ]
    return [
        sum((gamma * gae_lambda) ** ahead * surprises[t + ahead] for ahead in range(tokens - t))
        for t in range(tokens)
    ]


@given(rollouts=some_rollouts(), gamma=st.floats(0, 1), gae_lambda=st.floats(0, 1))
def test_advantages_equal_a_slow_loop(rollouts, gamma, gae_lambda):
    reward_T, value_T, lengths_N = rollouts
    found = advantages(reward_T, value_T, lengths_N, gamma, gae_lambda)
    parts = zip(reward_T.split(lengths_N.tolist()), value_T.split(lengths_N.tolist()), strict=True)
    expected_T = numbers(
        *(
            one
            for rewards, values in parts
            for one in slow_advantages(rewards.tolist(), values.tolist(), gamma, gae_lambda)
        )
    )
    torch.testing.assert_close(found.advantage_T, expected_T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.return_T, expected_T + value_T, rtol=1e-9, atol=1e-9)


@given(rollouts=some_rollouts())
def test_lambda_one_returns_what_was_earned(rollouts):
    """Undiscounted and with lambda 1 the return is the sum of the rewards still to come."""
    reward_T, value_T, lengths_N = rollouts
    found = advantages(reward_T, value_T, lengths_N, gamma=1.0, gae_lambda=1.0)
    expected_T = torch.cat(
        [one.flip(0).cumsum(0).flip(0) for one in reward_T.split(lengths_N.tolist())]
    )
    torch.testing.assert_close(found.return_T, expected_T, rtol=1e-9, atol=1e-9)


@given(rollouts=some_rollouts(), data=st.data())
def test_advantages_do_not_depend_on_the_cut(rollouts, data):
    reward_T, value_T, lengths_N = rollouts
    cut = data.draw(st.integers(0, len(lengths_N)))
    tokens = int(lengths_N[:cut].sum())
    parts = [
        advantages(reward_T[here], value_T[here], lengths_N[which], 0.9, 0.8)
        for here, which in (
            (slice(tokens), slice(cut)),
            (slice(tokens, None), slice(cut, None)),
        )
    ]
    whole = advantages(reward_T, value_T, lengths_N, 0.9, 0.8)
    torch.testing.assert_close(torch.cat([one.advantage_T for one in parts]), whole.advantage_T)
    torch.testing.assert_close(torch.cat([one.return_T for one in parts]), whole.return_T)


def test_advantages_carry_no_gradient_and_change_no_input():
    reward_T, value_T = numbers(0.0, 1.0).requires_grad_(), numbers(0.5, 0.5).requires_grad_()
    found = advantages(reward_T, value_T, torch.tensor([2]), 1.0, 0.95)
    assert not any(one.requires_grad for one in found)
    assert (reward_T.tolist(), value_T.tolist()) == ([0.0, 1.0], [0.5, 0.5])


@given(
    st.lists(st.lists(st.floats(-100, 100), max_size=8), min_size=1, max_size=5).filter(
        lambda parts: sum(map(len, parts)) >= 2
    )
)
def test_whitening_does_not_depend_on_the_cut(parts):
    """Moments of micro-batches, some of them empty, are added; numpy sees the whole."""
    tensors = [numbers(*part) for part in parts]
    total = Moments(*(sum(values) for values in zip(*map(moments, tensors), strict=True)))
    found_T = torch.cat([whitened(one, total) for one in tensors]).numpy()
    whole = np.concatenate([np.array(part) for part in parts])
    expected = (whole - whole.mean()) / np.sqrt(whole.var() + 1e-8)
    # The variance is a difference of sums: exact to 1e-16 of the largest square, 1e4.
    np.testing.assert_allclose(found_T, expected, rtol=1e-2, atol=1e-2)
    if whole.std() > 1e-2:
        np.testing.assert_allclose(found_T, expected, rtol=1e-6, atol=1e-6)


def test_whitening_keeps_float32_and_equal_values_are_zero():
    values_T = torch.full((3,), 0.1)
    found_T = whitened(values_T, moments(values_T))
    assert (found_T.dtype, found_T.tolist()) == (torch.float32, [0.0, 0.0, 0.0])
    with pytest.raises(TrainingError, match=r"1 advantage cannot be whitened; .*Sample more"):
        whitened(values_T[:1], moments(values_T[:1]))


def terms_of(ppo, ratio, advantage, value=1.0, old_value=1.0, returned=1.0):
    """One token; the leaves are its log-probability and its value."""
    policy_T = numbers(math.log(ratio) - 2).requires_grad_()
    value_T = numbers(value).requires_grad_()
    rollout = Rollout(numbers(-2.0), numbers(old_value), numbers(advantage), numbers(returned))
    terms = ppo.terms(policy_T, value_T, rollout)
    return terms, torch.autograd.grad(terms.loss_T.sum(), (policy_T, value_T))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "clipped"),
    [
        (1.0, 2.0, -2.0, -2.0, False),
        (1.1, 1.0, -1.1, -1.1, False),
        (1.5, 1.0, -1.2, 0.0, True),
        (1.5, -1.0, 1.5, 1.5, False),
        (0.5, 1.0, -0.5, -0.5, False),
        (0.5, -1.0, 0.8, 0.0, True),
        (1.5, 0.0, 0.0, 0.0, False),
    ],
)
def test_policy_clipping_by_hand(ratio, advantage, loss, slope, clipped):
    """Schulman et al. 2017, Figure 1; the slope of -A x in log p is -A x."""
    terms, (policy_slope, _) = terms_of(Ppo(clip=0.2), ratio, advantage)
    assert terms.policy_loss_T.item() == pytest.approx(loss, abs=1e-12)
    assert policy_slope.item() == pytest.approx(slope, abs=1e-12)
    assert terms.clipped_T.tolist() == [clipped]
    # Old || policy at log ratio log x: k1 = -log x, k3 = x - 1 - log x.
    assert terms.k1_T.item() == pytest.approx(-math.log(ratio), abs=1e-12)
    assert terms.k3_T.item() == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-12)


@pytest.mark.parametrize(
    ("value", "returned", "clip", "loss", "slope", "clipped"),
    [
        (1.1, 3.0, 0.2, 1.9**2 / 2, -1.9, False),
        (2.0, 3.0, 0.2, 1.8**2 / 2, 0.0, True),
        (2.0, 0.0, 0.2, 2.0**2 / 2, 2.0, False),
        (2.0, 3.0, None, 1.0**2 / 2, -1.0, False),
    ],
)
def test_value_clipping_by_hand(value, returned, clip, loss, slope, clipped):
    """The old value is 1, so that the value may go to 0.8 and 1.2."""
    ppo = Ppo(value_clip=clip, value_weight=0.5)
    terms, (_, value_slope) = terms_of(ppo, 1.0, 0.0, value, 1.0, returned)
    assert terms.value_loss_T.item() == pytest.approx(loss)
    assert terms.loss_T.item() == pytest.approx(0.5 * loss)
    assert value_slope.item() == pytest.approx(0.5 * slope)
    assert terms.value_clipped_T.tolist() == [clipped]


def test_values_within_the_clip_are_not_counted_as_clipped():
    """old + (v - old) is not v in floating point: a clip on the difference would count many."""
    torch.manual_seed(0)
    old_T, value_T = 0.01 * torch.randn(1000), 0.1 * torch.rand(1000)
    assert (old_T + (value_T - old_T) != value_T).sum() > 100
    zero_T = torch.zeros(1000)
    terms = Ppo().terms(zero_T, value_T, Rollout(zero_T, old_T, zero_T, torch.randn(1000)))
    assert not terms.value_clipped_T.any()


def test_the_loss_is_all_three_together():
    """-1.2 from the clip, 0.1 * 1/2 * 1.9^2 from the critic, less 0.3 * 2 nats of entropy."""
    rollout = Rollout(numbers(-2.0), numbers(1.0), numbers(1.0), numbers(3.0))
    policy_T, value_T = numbers(math.log(1.5) - 2), numbers(1.1)
    terms = Ppo(entropy_weight=0.3).terms(policy_T, value_T, rollout, entropy_T=numbers(2.0))
    assert terms.loss_T.item() == pytest.approx(-1.2 + 0.1 * 1.9**2 / 2 - 0.6)


def test_gradients_reach_policy_value_and_entropy_alone():
    torch.manual_seed(0)
    policy_T, value_T, entropy_T = (
        (torch.randn(6, dtype=torch.float64) - 3).requires_grad_() for _ in range(3)
    )
    fixed = Rollout(*((torch.randn(6, dtype=torch.float64) - 3).requires_grad_() for _ in range(4)))
    ppo = Ppo(entropy_weight=0.3)

    def losses(*leaves: torch.Tensor) -> torch.Tensor:
        return ppo.terms(leaves[0], leaves[1], fixed, leaves[2]).loss_T

    assert torch.autograd.gradcheck(losses, (policy_T, value_T, entropy_T))
    terms = ppo.terms(policy_T, value_T, fixed, entropy_T)
    terms.loss_T.sum().backward()
    assert all(one.grad is None for one in fixed)
    assert not any(one.requires_grad for one in terms[1:])


@pytest.mark.parametrize("log_ratio", [200.0, -200.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_runaway_ratios_stay_finite(log_ratio, advantage):
    """exp(200) is infinite in float32, and 0 times infinity is no number."""
    policy_T = torch.tensor([log_ratio], requires_grad=True)
    found = clipped_surrogate(policy_T, torch.zeros(1), torch.tensor([advantage]), 0.2, 0.2)
    found.loss_T.backward()
    assert torch.isfinite(found.loss_T).all()
    assert torch.isfinite(policy_T.grad).all()
    assert torch.isfinite(kl_estimates(torch.zeros(1), policy_T.detach()).k3).all()


@given(st.lists(st.tuples(st.floats(-8, 0), st.floats(-8, 0)), min_size=2, max_size=6))
def test_both_estimates_have_the_divergence_as_their_mean(logits):
    """Over all tokens, each as often as a says: no sampling error is left."""
    sampled, other = torch.tensor(logits, dtype=torch.float64).T.log_softmax(-1)
    found = kl_estimates(sampled, other)
    divergence = torch.nn.functional.kl_div(other, sampled, log_target=True, reduction="sum")
    for estimate in found:
        torch.testing.assert_close((sampled.exp() * estimate).sum(), divergence)
    assert (found.k3 >= -1e-15).all()


def test_estimates_by_hand():
    """x = b / a is 2 and 1/2: k1 = -log x, k3 = x - 1 - log x."""
    found = kl_estimates(numbers(-2.0, -2.0), numbers(math.log(2) - 2, -math.log(2) - 2))
    assert found.k1.tolist() == pytest.approx([-math.log(2), math.log(2)])
    assert found.k3.tolist() == pytest.approx([1 - math.log(2), -0.5 + math.log(2)])


@pytest.mark.parametrize(
    ("measured", "factor"),
    [(6.0, 1.0), (6.6, 1.01), (12.0, 1.02), (5.4, 0.99), (0.0, 0.98), (-1.0, 0.98)],
)
def test_adaptive_kl_weight_by_hand(measured, factor):
    """Ziegler et al.: the relative error, cut at 0.2 either way, times 0.1."""
    found = Ppo(kl_weight=0.2, kl_target=6.0).next_kl_weight(0.5, measured)
    assert found == pytest.approx(0.5 * factor)
    assert Ppo(kl_weight=0.2).next_kl_weight(0.5, measured) == 0.5


@pytest.mark.parametrize("measured", [math.nan, math.inf])
def test_kl_that_ran_away_is_an_error(measured):
    with pytest.raises(
        TrainingError, match=rf"is {measured}; it must be finite.*learning_rate, or"
    ):
        Ppo().next_kl_weight(0.2, measured)


def test_entropy_equals_torch():
    torch.manual_seed(0)
    logits_CV = (3 * torch.randn(4, 7, dtype=torch.float64)).requires_grad_()
    expected_C = torch.distributions.Categorical(logits=logits_CV).entropy()
    torch.testing.assert_close(entropy(logits_CV), expected_C)
    assert torch.autograd.gradcheck(entropy, logits_CV)
    half = logits_CV.detach().bfloat16()
    torch.testing.assert_close(entropy(half), entropy(half.float()), rtol=0, atol=0)


def test_entropy_of_impossible_tokens():
    """Masked to -inf, or 500 nats below the others: two equal tokens are left."""
    logits_CV = torch.tensor([[0.0, 0.0, -torch.inf], [500.0, 500.0, 0.0]], requires_grad=True)
    found_C = entropy(logits_CV)
    found_C.sum().backward()
    assert found_C.tolist() == pytest.approx([math.log(2)] * 2)
    assert torch.isfinite(logits_CV.grad).all()


def test_nothing_is_nothing():
    none, no_lengths = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert penalised_rewards(none, none, none, no_lengths, 0.1).shape == (0,)
    assert [one.shape for one in advantages(none, none, no_lengths, 1.0, 0.95)] == [(0,)] * 2
    terms = Ppo().terms(none, none, Rollout(none, none, none, none))
    assert [tuple(one.shape) for one in terms] == [(0,)] * 7
    assert entropy(torch.zeros(0, 5)).shape == (0,)


def test_a_reward_that_is_no_number_names_its_answer():
    with pytest.raises(
        TrainingError, match=r"answer 1 of 3 has the reward nan; .* 2 are not. Mend"
    ):
        check_rewards(torch.tensor([0.0, math.nan, math.inf]))
    with pytest.raises(TrainingError, match=r"answer 0 of 1 has the reward -inf; .* 1 is not."):
        penalised_rewards(
            torch.tensor([-math.inf]), torch.zeros(1), torch.zeros(1), torch.tensor([1]), 0.1
        )


def test_bad_input_is_refused():
    two, three = torch.zeros(2), torch.zeros(3)
    with pytest.raises(ValueError, match=r"have 2 tokens, but .* the shapes \[\(3,\)\]"):
        advantages(three, three, torch.tensor([1, 1]), 1.0, 0.95)
    with pytest.raises(ValueError, match=r"have 3 tokens, but .* the shapes \[\(2,\), \(3,\)\]"):
        penalised_rewards(two, two, three, torch.tensor([1, 2]), 0.1)
    with pytest.raises(ValueError, match="3 rewards for 2 completions"):
        penalised_rewards(three, three, three, torch.tensor([1, 2]), 0.1)
    with pytest.raises(TrainingError, match=r"answer 1 of 2 has no token; .*Sample at least one"):
        advantages(two, two, torch.tensor([2, 0]), 1.0, 0.95)
    rollout = Rollout(two, two, two, two)
    with pytest.raises(ValueError, match=r"one number per token; shapes are \[\(2,\), \(3,\)\]"):
        Ppo().terms(two, three, rollout)
    with pytest.raises(ValueError, match="entropy_weight needs the entropy of each token"):
        Ppo(entropy_weight=0.1).terms(two, two, rollout)
    with pytest.raises(ValueError, match="entropy_weight needs the entropy of each token"):
        Ppo(entropy_weight=0.1).terms(two, two, rollout, three)
    with pytest.raises(ValueError, match=r"policy_T is torch.bfloat16; .*must be float32"):
        Ppo().terms(two.bfloat16(), two, rollout)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kl_weight": -0.1},
            r"objective.kl_weight: is -0.1; it must be at least 0. 0.02 is usual",
        ),
        ({"kl_gain": 0.0}, r"objective.kl_gain: is 0.0; it must be above 0 and at most 1. 0.1 is"),
        ({"gamma": 1.1}, r"objective.gamma: is 1.1; it must be at least 0 and at most 1. 1 is"),
        ({"gae_lambda": -1.0}, r"objective.gae_lambda: is -1.0; .*at most 1. 0.95 is usual"),
        ({"clip": 1.0}, r"objective.clip: is 1.0; it must be above 0 and below 1. 0.2 is usual"),
        (
            {"value_clip": 0.0},
            r"objective.value_clip: is 0.0; it must be above 0. .*None is no clip",
        ),
        ({"value_weight": math.nan}, r"objective.value_weight: is nan; it must be finite and"),
        ({"entropy_weight": -1.0}, r"objective.entropy_weight: is -1.0; .*0 leaves it out"),
        ({"kl_target": 0.0}, r"objective.kl_target: is 0.0; .*None keeps kl_weight as it is"),
        (
            {"kl_target": 6.0, "kl_weight": 0.0},
            r"objective.kl_weight: is 0.0; it must be above 0. A controller .*start at 0.2",
        ),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Ppo(**settings)


def test_a_token_that_the_reference_holds_for_impossible_still_pulls():
    """k3 = x - 1 - log x has the slope 1 - x in log a: near 1 where x is all but 0, and never 0."""
    policy = torch.tensor([-0.01, -0.01], dtype=torch.float64, requires_grad=True)
    found = kl_estimates(policy, numbers(-45.01, -15.01)).k3
    found.sum().backward()
    assert found.tolist() == pytest.approx([44, 14])
    assert policy.grad.tolist() == pytest.approx([1, 1])
