"""GRPO: advantages of groups, weights of tokens, and TRL's loss on the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RecipeError, TrainingError
from danlu.objectives.grpo import Grpo
from tests.objectives import trl_reference


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_advantages_by_hand():
    """Rewards 1, 0, 1, 2 have mean 1 and std sqrt(2/3); 5 and 3 have mean 4 and std sqrt 2.

    The answers of both groups are mixed up.
    """
    reward_N = numbers(1, 5, 0, 1, 3, 2)
    group_N = torch.tensor([0, 1, 0, 0, 1, 0])
    found = Grpo().advantages(reward_N, group_N, groups=2)
    one, two = math.sqrt(2 / 3), math.sqrt(2)
    assert found.mean_G.tolist() == [1.0, 4.0]
    assert found.std_G.tolist() == pytest.approx([one, two])
    one, two = 1 / (one + 1e-4), 1 / (two + 1e-4)
    assert found.advantage_N.tolist() == pytest.approx([0.0, two, -one, 0.0, -two, one])
    plain = Grpo(divide_by_std=False).advantages(reward_N, group_N, groups=2)
    assert plain.advantage_N.tolist() == pytest.approx([0.0, 1.0, -1.0, 0.0, -1.0, 1.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reward", [0.1, -1e6 / 3, 1e-12])
@pytest.mark.parametrize("answers", [2, 3, 7])
def test_a_group_of_equal_rewards_teaches_nothing(dtype, reward, answers):
    """Exactly: the mean of three times 0.1 is not 0.1 in floating point."""
    reward_N = torch.full((answers,), reward, dtype=dtype)
    found = Grpo().advantages(reward_N, torch.zeros(answers, dtype=torch.int64), groups=1)
    assert found.advantage_N.tolist() == [0.0] * answers
    assert found.std_G.tolist() == [0.0]
    assert found.mean_G.tolist() == reward_N[:1].tolist()


def test_rounding_does_not_become_an_advantage():
    """Rewards 1e-8 apart stay below 1e-4; without the floor they would be 0.7."""
    found = Grpo().advantages(numbers(1.0, 1.0 + 1e-8), torch.tensor([0, 0]), groups=1)
    assert 0 < found.advantage_N.abs().max().item() < 1e-4


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.bfloat16])
def test_rewards_of_a_rule_may_be_whole_numbers(dtype):
    reward_N = torch.tensor([1, 0, 0, 0]).to(dtype)
    found = Grpo(divide_by_std=False).advantages(reward_N, torch.zeros(4).long(), groups=1)
    assert found.advantage_N.dtype == torch.float32
    assert found.advantage_N.tolist() == [0.75, -0.25, -0.25, -0.25]
    assert found.mean_G.tolist() == [0.25]


@st.composite
def some_groups(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Rewards of one to four groups of two to five answers, in the order of their groups."""
    sizes = draw(st.lists(st.integers(2, 5), min_size=1, max_size=4))
    rewards = draw(st.lists(st.floats(-10, 10), min_size=sum(sizes), max_size=sum(sizes)))
    group_N = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return numbers(*rewards), group_N, len(sizes)


@given(groups=some_groups(), data=st.data())
def test_advantages_equal_numpy_in_any_order(groups, data):
    reward_N, group_N, number = groups
    order = data.draw(st.permutations(range(len(reward_N))))
    found = Grpo().advantages(reward_N[order], group_N[order], number)
    for group in range(number):
        rewards = reward_N[order][group_N[order] == group].numpy()
        std = rewards.std(ddof=1)
        np.testing.assert_allclose(found.mean_G[group].item(), rewards.mean(), atol=1e-12)
        np.testing.assert_allclose(found.std_G[group].item(), std, atol=1e-12)
        np.testing.assert_allclose(
            found.advantage_N[group_N[order] == group].numpy(),
            (rewards - rewards.mean()) / (std + 1e-4),
            atol=1e-9,
        )


@given(groups=some_groups(), shift=st.floats(-100, 100))
def test_advantages_ignore_what_a_group_has_in_common(groups, shift):
    reward_N, group_N, number = groups
    shifted = Grpo(divide_by_std=False).advantages(reward_N + shift, group_N, number)
    expected = Grpo(divide_by_std=False).advantages(reward_N, group_N, number)
    torch.testing.assert_close(shifted.advantage_N, expected.advantage_N, rtol=0, atol=1e-11)


def test_token_weights_by_hand():
    """Answers of 2 and 4 tokens; the constant length is 8."""
    lengths_N = torch.tensor([2, 4])
    sequence = Grpo().token_weights(lengths_N)
    assert (sequence.weight_T.tolist(), sequence.total.item()) == ([0.5] * 2 + [0.25] * 4, 2.0)
    token = Grpo(normalise="token").token_weights(lengths_N)
    assert (token.weight_T.tolist(), token.total.item()) == ([1.0] * 6, 6.0)
    constant = Grpo(normalise="constant", max_tokens=8).token_weights(lengths_N)
    assert (constant.weight_T.tolist(), constant.total.item()) == ([1 / 8] * 6, 2.0)


def test_clipping_and_kl_by_hand():
    """Answers of 2 and 1 tokens with advantages 1 and -1; ratios 1.5, 0.5 and 0.5.

    The first is held at 1.28, the second is free, the third is held at 0.8. The reference is
    twice as likely as the policy everywhere: k3 = 2 - 1 - log 2.
    """
    old_T = numbers(-2.0, -2.0, -2.0)
    policy_T = (old_T + numbers(1.5, 0.5, 0.5).log()).requires_grad_()
    reference_T = policy_T.detach() + math.log(2)
    grpo = Grpo(clip_high=0.28, kl_weight=0.5)
    lengths_N = torch.tensor([2, 1])
    terms = grpo.terms(policy_T, old_T, numbers(1.0, -1.0), lengths_N, reference_T)
    k3 = 1 - math.log(2)
    assert terms.policy_loss_T.tolist() == pytest.approx([-1.28, -0.5, 0.8])
    assert terms.clipped_T.tolist() == [True, False, True]
    assert terms.kl_T.tolist() == pytest.approx([k3] * 3)
    assert terms.loss_T.tolist() == pytest.approx(
        [-1.28 + 0.5 * k3, -0.5 + 0.5 * k3, 0.8 + 0.5 * k3]
    )
    assert terms.k1_T.tolist() == pytest.approx([-math.log(1.5), math.log(2), math.log(2)])
    # Slopes in log p: -A x where free; of k3 it is 1 - x = -1.
    (slope_T,) = torch.autograd.grad(terms.loss_T.sum(), policy_T)
    assert slope_T.tolist() == pytest.approx([-0.5, -0.5 - 0.5, -0.5])


def test_without_weight_the_kl_is_reported_and_not_minimised():
    policy_T = numbers(-1.0, -2.0).requires_grad_()
    one, lengths_N = numbers(1.0), torch.tensor([2])
    grpo = Grpo(kl_weight=0.0)
    reported = grpo.terms(policy_T, policy_T.detach(), one, lengths_N, policy_T.detach() - 1)
    silent = grpo.terms(policy_T, policy_T.detach(), one, lengths_N)
    assert reported.kl_T.tolist() == pytest.approx([math.exp(-1)] * 2)
    assert silent.kl_T is None
    torch.testing.assert_close(reported.loss_T, silent.loss_T)
    assert (grpo.needs_reference, Grpo().needs_reference) == (False, True)


def test_gradients_reach_the_policy_alone():
    torch.manual_seed(0)
    policy_T, old_T, reference_T = (
        (torch.randn(6, dtype=torch.float64) - 3).requires_grad_() for _ in range(3)
    )
    advantage_N, lengths_N = numbers(1.0, -0.5, 0.3).requires_grad_(), torch.tensor([1, 3, 2])

    def losses(policy_T: torch.Tensor) -> torch.Tensor:
        return Grpo().terms(policy_T, old_T, advantage_N, lengths_N, reference_T).loss_T

    assert torch.autograd.gradcheck(losses, policy_T)
    terms = Grpo().terms(policy_T, old_T, advantage_N, lengths_N, reference_T)
    terms.loss_T.sum().backward()
    assert old_T.grad is reference_T.grad is advantage_N.grad is None
    assert not any(one.requires_grad for one in terms[1:])


NORMALISED = {
    "grpo": Grpo(kl_weight=0.3, clip_high=0.28),
    "dapo": Grpo(kl_weight=0.3, clip_high=0.28, normalise="token"),
    "dr_grpo": Grpo(kl_weight=0.3, clip_high=0.28, normalise="constant", max_tokens=9),
    "bnpo": Grpo(kl_weight=0.0, clip_high=0.28, normalise="token"),
}


@pytest.mark.parametrize("loss_type", NORMALISED)
def test_equals_trl(loss_type):
    """Rows of padded tokens there, tokens one after another here."""
    torch.manual_seed(0)
    lengths_N = torch.tensor([4, 1, 6, 3])
    completion_NT = (torch.arange(6) < lengths_N.unsqueeze(1)).long()
    old_NT = -3 * torch.rand(4, 6, dtype=torch.float64)
    policy_NT = (old_NT + 0.3 * torch.randn(4, 6, dtype=torch.float64)).requires_grad_()
    reference_NT = old_NT + 0.3 * torch.randn(4, 6, dtype=torch.float64)
    advantage_N = torch.randn(4, dtype=torch.float64)
    grpo = NORMALISED[loss_type]
    expected, reported = trl_reference.grpo(
        policy_NT,
        old_NT,
        reference_NT,
        advantage_N,
        completion_NT,
        loss_type=loss_type,
        beta=grpo.kl_weight,
        epsilon_low=grpo.clip_low,
        epsilon_high=grpo.clip_high,
        max_completion_length=9,
    )
    real = completion_NT.bool()
    terms = grpo.terms(
        policy_NT[real],
        old_NT[real],
        advantage_N,
        lengths_N,
        reference_NT[real] if grpo.needs_reference else None,
    )
    weights = grpo.token_weights(lengths_N)
    found = (weights.weight_T * terms.loss_T).sum() / weights.total
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        torch.autograd.grad(found, policy_NT),
        torch.autograd.grad(expected, policy_NT),
        rtol=1e-6,
        atol=1e-8,
    )
    clipped = terms.clipped_T.double().mean().item()
    assert 0 < clipped < 1
    assert clipped == pytest.approx(reported["clip_ratio/region_mean"][0])
    if grpo.needs_reference:
        assert terms.kl_T.mean().item() == pytest.approx(reported["kl"][0])


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    data=st.data(),
    name=st.sampled_from(["grpo", "dapo", "dr_grpo"]),
)
def test_sums_over_micro_batches_are_those_of_the_whole(lengths, data, name):
    grpo, tokens = NORMALISED[name], sum(lengths)
    policy_T, old_T, reference_T = (
        numbers(*data.draw(st.lists(st.floats(-5, 0), min_size=tokens, max_size=tokens)))
        for _ in range(3)
    )
    advantage_N = numbers(
        *data.draw(st.lists(st.floats(-2, 2), min_size=len(lengths), max_size=len(lengths)))
    )
    lengths_N = torch.tensor(lengths)

    def step(answers: slice, here: slice) -> torch.Tensor:
        terms = grpo.terms(
            policy_T[here], old_T[here], advantage_N[answers], lengths_N[answers], reference_T[here]
        )
        weights = grpo.token_weights(lengths_N[answers])
        return torch.stack([(weights.weight_T * terms.loss_T).sum(), weights.total])

    cut = data.draw(st.integers(0, len(lengths)))
    border = sum(lengths[:cut])
    parts = step(slice(cut), slice(border)) + step(slice(cut, None), slice(border, None))
    whole = step(slice(None), slice(None))
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-6)


def test_nothing_is_nothing():
    none, ids = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert [tuple(one.shape) for one in Grpo().advantages(none, ids, 0)] == [(0,)] * 3
    assert [tuple(one.shape) for one in Grpo().terms(none, none, none, ids, none)] == [(0,)] * 5
    weights = Grpo().token_weights(ids)
    assert (weights.weight_T.tolist(), weights.total.item()) == ([], 0.0)


def test_bad_groups_are_refused():
    reward_N = torch.zeros(3)
    with pytest.raises(ValueError, match=r"a reward and a group; shapes are \(3,\) and \(2,\)"):
        Grpo().advantages(reward_N, torch.tensor([0, 0]), 1)
    with pytest.raises(TrainingError, match=r"group 1 of 2 has 1 answers; .*Sample more answers"):
        Grpo().advantages(reward_N, torch.tensor([0, 0, 1]), 2)
    with pytest.raises(TrainingError, match=r"group 1 of 2 has 0 answers"):
        Grpo().advantages(reward_N, torch.tensor([0, 0, 0]), 2)
    with pytest.raises(TrainingError, match=r"answer 2 of 3 has the reward nan; .*Mend the reward"):
        Grpo().advantages(torch.tensor([0.0, 1.0, math.nan]), torch.tensor([0, 0, 0]), 1)


def test_bad_tokens_are_refused():
    three, two, lengths_N = torch.zeros(3), torch.zeros(2), torch.tensor([2, 1])
    with pytest.raises(ValueError, match=r"kl_weight needs the reference.*they are None"):
        Grpo().terms(three, three, two, lengths_N)
    with pytest.raises(ValueError, match=r"have 3 tokens, but .* shapes \[\(2,\), \(3,\)\]"):
        Grpo().terms(three, three, two, lengths_N, two)
    with pytest.raises(ValueError, match="3 advantages for 2 answers"):
        Grpo().terms(three, three, three, lengths_N, three)
    with pytest.raises(TrainingError, match=r"answer 1 of 2 has no token"):
        Grpo().terms(three, three, two, torch.tensor([3, 0]), three)
    with pytest.raises(ValueError, match=r"old_T is torch.bfloat16"):
        Grpo().terms(three, three.bfloat16(), two, lengths_N, three)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_low": 1.0}, r"objective.clip_low: is 1.0; it must be above 0 and below 1. 0.2 is"),
        ({"clip_high": 0.0}, r"objective.clip_high: is 0.0; it must be above 0. 0.2 is usual."),
        ({"kl_weight": -1.0}, r"objective.kl_weight: is -1.0; it must be at least 0. 0.04 is"),
        (
            {"normalise": "tokens"},
            r"objective.normalise: 'tokens' is unknown. Did you mean 'token'",
        ),
        (
            {"normalise": "constant"},
            r"objective.max_tokens: is None with normalise 'constant'; .*Set",
        ),
        (
            {"max_tokens": 8},
            r"objective.max_tokens: is 8 with normalise 'sequence'; .*both or neither",
        ),
        (
            {"normalise": "constant", "max_tokens": 0},
            r"objective.max_tokens: is 0; it must be at least 1. Use the sampling limit.",
        ),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Grpo(**settings)
