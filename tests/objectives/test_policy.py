"""PPO and GRPO over the forest: against rows, against plain torch, and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from danlu.errors import TrainingError
from danlu.models.forest_support import ordinary_attention, use_forest_attention
from danlu.models.head import OutputHead
from danlu.objectives.policy import (
    GrpoPolicy,
    Lessons,
    Measured,
    PpoPolicy,
    answer_lengths,
    logprobs_and_entropy,
)
from danlu.sequences.branch import Branch
from danlu.sequences.forest import build_packs, build_rows, empty_pack
from danlu.training.policy import PolicyModel, no_dropout
from danlu.training.scoring import Packing, ScoringModel
from tests.models.test_forest_equality import VOCABULARY, tiny

OBJECTIVES = {
    "ppo": PpoPolicy.of(value_weight=0.7),
    "ppo with entropy": PpoPolicy.of(entropy_weight=0.3, value_clip=0),
    "grpo": GrpoPolicy.of(kl_weight=0.3),
    "grpo per token": GrpoPolicy.of(normalise="token", clip_high=0.28),
    "grpo over a constant": GrpoPolicy.of(normalise="constant", max_tokens=9),
}


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def groups(rng: np.random.Generator, sizes: list[int]) -> list[Branch]:
    """Prompts with ``sizes`` answers of one to seven tokens each."""
    found = []
    for record, size in enumerate(sizes):
        prompt = rng.integers(0, VOCABULARY, 8 + record)
        for number in range(size):
            ids = np.concatenate([prompt, rng.integers(0, VOCABULARY, rng.integers(1, 8))])
            weights = (np.arange(len(ids)) >= len(prompt)).astype(np.float32)
            found.append(
                Branch(ids.astype(np.int32), weights, record, number, record % 2, len(prompt))
            )
    return found


def some_lessons(rng: np.random.Generator, tokens: int) -> Lessons:
    """Ratios far enough from 1 for the clips to hold some back."""
    made = [torch.from_numpy(rng.normal(0, 0.4, tokens)) for _ in range(5)]
    old = made[0] - math.log(VOCABULARY)
    return Lessons(old, made[1], made[2] + old, made[3], made[4])


def policy_of(name: str) -> PolicyModel:
    model = tiny()
    assert use_forest_attention(model) is None
    objective = OBJECTIVES[name]
    policy = PolicyModel(ScoringModel(model, objective, 2), keep_reference=True)
    if policy.critic is not None:
        torch.manual_seed(1)
        torch.nn.init.normal_(policy.critic.linear.weight, std=0.2)
    policy.begin()
    return policy


def result(policy: PolicyModel, branches: list[Branch], lessons: Lessons, packs: Any) -> Any:
    """Loss, gradients and metrics of an update."""
    policy.zero_grad()
    lengths = answer_lengths(branches)
    offsets = np.cumsum(lengths) - lengths
    loss, totals = 0.0, {}
    for pack in packs:
        sums = policy(pack, branches, lessons, offsets)
        part = sums.loss / policy.objective.divisor(branches)
        part.backward()
        loss += part.item()
        for key, value in sums.totals.items():
            totals[key] = totals.get(key, 0) + value.numpy()
    gradients = {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}
    return loss, gradients, totals


def assert_same(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert found[1].keys() == expected[1].keys()
    scale = max(gradient.abs().max().item() for gradient in expected[1].values())
    assert scale > 0
    for name, gradient in expected[1].items():
        assert (found[1][name] - gradient).abs().max().item() <= tolerance * scale, name


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=4)
@given(st.integers(0, 10**6), st.lists(st.integers(2, 4), min_size=1, max_size=4))
def test_forest_equals_separate_rows(name, seed, sizes):
    rng = np.random.default_rng(seed)
    policy, branches = policy_of(name), groups(rng, sizes)
    lessons = some_lessons(rng, int(answer_lengths(branches).sum()))
    with ordinary_attention(policy.model):
        rows = result(policy, branches, lessons, build_rows(branches, 1))
    for pack_tokens in (1, 30, 10_000):
        found = result(policy, branches, lessons, build_packs(branches, pack_tokens))
        assert_same(found, rows)
        for key, values in rows[2].items():
            np.testing.assert_allclose(found[2][key], values, rtol=1e-9, atol=1e-12, err_msg=key)


def by_hand(policy: PolicyModel, branches: list[Branch], lessons: Lessons, score: Any) -> Any:
    """Loss and gradients, each answer alone, through transformers' own logits."""
    policy.zero_grad()
    total, place = numbers(0.0).sum(), 0
    with ordinary_attention(policy.model):
        for branch in branches:
            ids = torch.from_numpy(branch.input_ids.astype(np.int64))[None]
            output = policy.model(input_ids=ids, output_hidden_states=True, use_cache=False)
            tokens = len(branch.input_ids) - branch.prompt_tokens
            here = slice(branch.prompt_tokens - 1, -1)
            logprobs = functional.log_softmax(output.logits[0, here], -1)
            own = logprobs.gather(1, ids[0, branch.prompt_tokens :, None])[:, 0]
            hidden = output.hidden_states[-1][0, here]
            lesson = lessons.select(torch.arange(place, place + tokens))
            total = total + score(own, logprobs, hidden, lesson)
            place += tokens
    total.backward()
    gradients = {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}
    return total.item(), gradients


def test_ppo_is_the_textbooks():
    """Clipped surrogate, clipped value loss, entropy; the mean over all sampled tokens."""
    for name in ("ppo", "ppo with entropy"):
        rng = np.random.default_rng(3)
        policy, branches = policy_of(name), groups(rng, [2, 3])
        tokens = int(answer_lengths(branches).sum())
        lessons = some_lessons(rng, tokens)
        critic = policy.critic

        def score(own, logprobs, hidden, lesson, plain=name == "ppo", critic=critic, tokens=tokens):
            ratio = (own - lesson.old_T).exp()
            gain = torch.minimum(
                lesson.advantage_T * ratio, lesson.advantage_T * ratio.clamp(0.8, 1.2)
            )
            value = critic(hidden)[:, 0]
            error = (value - lesson.return_T) ** 2
            if plain:
                near = lesson.old_value_T + (value - lesson.old_value_T).clamp(-0.2, 0.2)
                error = torch.maximum(error, (near - lesson.return_T) ** 2)
            entropy = -(logprobs.exp() * logprobs).sum(-1)
            loss = -gain + (0.7 if plain else 0.1) * error / 2 - (0 if plain else 0.3) * entropy
            return loss.sum() / tokens

        expected = by_hand(policy, branches, lessons, score)
        found = result(policy, branches, lessons, build_packs(branches, 10_000))
        assert_same(found, expected)


def test_grpo_is_the_textbooks():
    """Mean over an answer's tokens, then over answers; k3 to the reference at 0.3."""
    rng = np.random.default_rng(4)
    policy, branches = policy_of("grpo"), groups(rng, [2, 3])
    lessons = some_lessons(rng, int(answer_lengths(branches).sum()))
    first = np.cumsum(answer_lengths(branches)) - answer_lengths(branches)
    # All tokens of an answer have its advantage.
    advantages = torch.repeat_interleave(
        lessons.advantage_T[first], torch.from_numpy(answer_lengths(branches))
    )
    lessons = lessons._replace(advantage_T=advantages)

    def score(own, logprobs, hidden, lesson):
        ratio = (own - lesson.old_T).exp()
        gain = torch.minimum(lesson.advantage_T * ratio, lesson.advantage_T * ratio.clamp(0.8, 1.2))
        apart = lesson.reference_T - own
        return (-gain + 0.3 * (apart.exp() - apart - 1)).mean() / 5

    expected = by_hand(policy, branches, lessons, score)
    # Weights of tokens are float32: 1/7 is rounded.
    found = result(policy, branches, lessons, build_packs(branches, 10_000))
    assert_same(found, expected, tolerance=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_process_without_a_share_takes_part_with_zeros(name):
    policy = policy_of(name)
    lessons = some_lessons(np.random.default_rng(0), 3)
    sums = policy(empty_pack(), [], lessons, np.zeros(0, np.int64))
    sums.loss.backward()
    assert sums.loss.item() == 0
    for parameter, part in policy.named_parameters():
        if part.requires_grad:
            assert part.grad is not None, parameter
            assert not part.grad.any()
    branches = groups(np.random.default_rng(0), [2])
    full = policy(
        build_packs(branches, 99)[0],
        branches,
        some_lessons(np.random.default_rng(0), 14),
        np.array([0, 7]),
    )
    assert sums.totals.keys() == full.totals.keys()


def test_ppo_lessons_by_hand():
    """Two answers of 2 tokens and 1; a nat costs 0.5; gamma and lambda are 1.

    Rewards per token: -0.5, 0 + 3 | 0.5 - 1. Values: 1, 2 | 0. Returns are sums to the end: 2.5,
    3 | -0.5; advantages 1.5, 1 | -0.5, of mean 2/3 and variance 13/18.
    """
    measured = Measured(
        logprob_T=numbers(-1, -2, -2),
        entropy_T=numbers(1, 1, 1),
        value_T=numbers(1, 2, 0),
        reference_T=numbers(-2, -2, -1),
    )
    found = PpoPolicy.of(gae_lambda=1.0).lessons(
        numbers(3, -1), torch.tensor([7, 5]), torch.tensor([2, 1]), measured, 0.5
    )
    assert found.return_T.tolist() == [2.5, 3.0, -0.5]
    spread = math.sqrt(13 / 18)
    expected = [(1.5 - 2 / 3) / spread, (1 - 2 / 3) / spread, (-0.5 - 2 / 3) / spread]
    assert found.advantage_T.tolist() == pytest.approx(expected, rel=1e-6)
    assert found.old_T.tolist() == [-1, -2, -2]
    assert found.old_value_T.tolist() == [1, 2, 0]


def test_grpo_lessons_by_hand():
    """Groups 9 and 4 mixed up: rewards 1 and 3 | 5 and 5; without the division by std."""
    measured = Measured(numbers(-1, -2, -3, -4, -5), numbers(*[0] * 5), None, numbers(*[-1] * 5))
    found = GrpoPolicy.of(divide_by_std=False).lessons(
        numbers(1, 5, 3, 5), torch.tensor([9, 4, 9, 4]), torch.tensor([2, 1, 1, 1]), measured, 0.04
    )
    assert found.advantage_T.tolist() == [-1, -1, 0, 1, 0]
    assert found.reference_T.tolist() == [-1] * 5
    assert found.return_T is None


def test_an_answer_alone_has_nothing_to_be_compared_with():
    measured = Measured(numbers(-1), numbers(0), None, None)
    with pytest.raises(TrainingError, match="needs 2 to compare"):
        GrpoPolicy.of(kl_weight=0.0).lessons(
            numbers(1), torch.tensor([0]), torch.tensor([1]), measured, 0.0
        )


def test_metrics_by_hand():
    """Four answers of 10 tokens in all; gains of 6 and 2 nats of KL in all."""
    totals = {
        "answers": np.array(4.0),
        "reward": np.array(8.0),
        "square_reward": np.array(20.0),
        "gain": np.array(6.0),
        "length": np.array(10.0),
        "entropy": np.array(5.0),
        "truncated": np.array(1.0),
        "groups": np.array(2.0),
        "level_groups": np.array(1.0),
        "kl": np.array(2.0),
    }
    per_answer = PpoPolicy.of(kl_weight=0.5).metrics(totals)
    assert per_answer["loss"] == -1.5 + 0.5 * 0.5
    assert per_answer["reward"] == 2.0
    assert per_answer["reward_deviation"] == 1.0
    assert (per_answer["entropy"], per_answer["length"]) == (0.5, 2.5)
    assert (per_answer["truncated"], per_answer["level_groups"]) == (0.25, 0.5)
    assert per_answer["kl"] == 0.5
    assert GrpoPolicy.of(kl_weight=0.5).metrics(totals)["loss"] == -1.5 + 0.5 * 0.2
    updates = {"policy_loss": 3.0, "clipped": 5.0, "drift": 1.0, "tokens": 20.0, "value_loss": 8.0}
    returns = {"return": 40.0, "square_return": 120.0, "square_error": 10.0}
    more = {name: np.array(value) for name, value in {**updates, **returns}.items()}
    found = PpoPolicy.of().metrics({**totals, **more})
    assert found["clip_fraction"] == 0.25
    assert found["value_loss"] == 0.4
    # Returns have the variance 6 - 4; the critic's squared error is 0.5.
    assert found["explained_variance"] == 0.75


def test_measuring_is_what_transformers_says():
    """Log-probabilities, entropies and the reference, in packs of any size."""
    policy, branches = policy_of("ppo"), groups(np.random.default_rng(5), [2, 3])
    accelerator = Accelerator(cpu=True)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    now = {name: part.detach().clone() for name, part in policy.named_parameters()}
    own, entropies, values = [], [], []
    with torch.no_grad(), ordinary_attention(policy.model):
        for branch in branches:
            ids = torch.from_numpy(branch.input_ids.astype(np.int64))[None]
            output = policy.model(input_ids=ids, output_hidden_states=True, use_cache=False)
            here = slice(branch.prompt_tokens - 1, -1)
            logprobs = functional.log_softmax(output.logits[0, here], -1)
            own.append(logprobs.gather(1, ids[0, branch.prompt_tokens :, None])[:, 0])
            entropies.append(torch.distributions.Categorical(logits=logprobs).entropy())
            values.append(policy.critic(output.hidden_states[-1][0, here])[:, 0])
    for pack_tokens in (1, 10_000):
        found = policy.measure(policy, branches, Packing(pack_tokens), accelerator)
        expected = [torch.cat(part).float() for part in (own, entropies, values)]
        for measured, right in zip(found[:3], expected, strict=True):
            torch.testing.assert_close(measured, right, rtol=1e-5, atol=1e-6)
        assert (found.reference_T - found.logprob_T).abs().max() > 1e-3
    for name, part in policy.named_parameters():
        assert torch.equal(part, now[name]), name
    other = policy_of("ppo")
    fresh = other.measure(other, branches, Packing(99), accelerator)
    torch.testing.assert_close(fresh.reference_T, found.reference_T, rtol=1e-5, atol=1e-6)
    assert (
        torch.equal(fresh.reference_T, fresh.logprob_T)
        or (fresh.reference_T - fresh.logprob_T).abs().max() < 1e-5
    )


def test_entropy_and_its_gradient_in_chunks(monkeypatch):
    torch.manual_seed(0)
    head = OutputHead(torch.nn.Linear(6, 50, bias=False).double())
    hidden = torch.randn(70, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 50, (70,))
    monkeypatch.setattr("danlu.objectives.policy.CHUNK_BYTES", 4 * 4 * 50 * 32)
    found = logprobs_and_entropy(head, hidden, target)
    (found[0].sum() + 2 * found[1].sum()).backward()
    gradient, hidden.grad = hidden.grad, None
    whole = torch.distributions.Categorical(logits=head.logits(hidden))
    torch.testing.assert_close(found[0], whole.log_prob(target))
    torch.testing.assert_close(found[1], whole.entropy())
    (whole.log_prob(target).sum() + 2 * whole.entropy().sum()).backward()
    torch.testing.assert_close(gradient, hidden.grad)


def test_dropout_is_off_in_training_too():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.9))
    model.attention_dropout = 0.5
    no_dropout(model)
    model.train()
    ones = torch.ones(3, 4)
    assert torch.equal(model(ones), model[0](ones))
    assert model.attention_dropout == 0.0
