"""KTO by hand and against TRL; its baseline over micro-batches, and whose prompt goes to whom."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from danlu.errors import RecipeError, TrainingError
from danlu.objectives.kto import (
    Completions,
    KlSum,
    Kto,
    balanced_weights,
    kl_baseline,
    kl_sum,
    mismatched,
)
from tests.objectives import trl_reference


def s(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def hand_completions() -> Completions:
    """Log-ratios 2, -1 (desirable) and 3, -2 (undesirable)."""
    policy_N = torch.tensor([-8.0, -11.0, -7.0, -12.0], dtype=torch.float64, requires_grad=True)
    reference_N = torch.full((4,), -10.0, dtype=torch.float64, requires_grad=True)
    return Completions(policy_N, reference_N, torch.tensor([True, True, False, False]))


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_by_hand():
    """With z = 1 and beta = 1/2: r - z is 1 and -2 (up), z - r is -2 and 3 (down)."""
    kto = Kto(beta=0.5, desirable_weight=2.0, undesirable_weight=3.0)
    terms = kto.terms(hand_completions(), number(1.0))
    expected = [2 * (1 - s(0.5)), 2 * (1 - s(-1.0)), 3 * (1 - s(-1.0)), 3 * (1 - s(1.5))]
    assert terms.loss_N.tolist() == pytest.approx(expected)
    assert terms.reward_N.tolist() == [1.0, -0.5, 1.5, -1.0]


def test_gradients_reach_the_policy_alone():
    completions = hand_completions()
    baseline = number(1.0).requires_grad_()

    def losses(policy_N: torch.Tensor) -> torch.Tensor:
        return Kto(beta=0.5).terms(completions._replace(policy_N=policy_N), baseline).loss_N

    assert torch.autograd.gradcheck(losses, completions.policy_N)
    terms = Kto(beta=0.5).terms(completions, baseline)
    terms.loss_N.sum().backward()
    assert completions.reference_N.grad is None
    assert baseline.grad is None
    assert not terms.reward_N.requires_grad
    # Up is pulled up and down is pushed down: beta s(x) s(-x) each, here at x = 1/2.
    slope = 0.5 * s(0.5) * s(-0.5)
    assert completions.policy_N.grad[0].item() == pytest.approx(-slope)
    assert completions.policy_N.grad[2].item() > 0


@pytest.mark.parametrize("shift", [3.0, -3.0])
@pytest.mark.parametrize("desirable", [[1, 0, 0, 1, 1, 0], [1] * 6, [0] * 6])
def test_equals_trl(shift, desirable):
    """A mean log-ratio above 0 is the baseline; below it is 0."""
    torch.manual_seed(0)
    policy_N = (-20 * torch.rand(6, dtype=torch.float64)).requires_grad_()
    reference_N = policy_N.detach() + torch.randn(6, dtype=torch.float64)
    other_M = -20 * torch.rand(6, dtype=torch.float64)
    other_reference_M = other_M - shift + torch.randn(6, dtype=torch.float64)
    desirable_N = torch.tensor(desirable, dtype=torch.bool)
    expected, reported = trl_reference.kto(
        policy_N,
        reference_N,
        desirable_N,
        other_M,
        other_reference_M,
        beta=0.2,
        desirable_weight=1.5,
        undesirable_weight=0.5,
    )
    baseline = kl_baseline(kl_sum(other_M, other_reference_M))
    assert baseline.item() == pytest.approx(reported["kl"][0])
    assert (baseline.item() > 0) is (shift > 0)
    kto = Kto(beta=0.2, desirable_weight=1.5, undesirable_weight=0.5)
    terms = kto.terms(Completions(policy_N, reference_N, desirable_N), baseline)
    torch.testing.assert_close(terms.loss_N.mean(), expected)
    torch.testing.assert_close(
        torch.autograd.grad(terms.loss_N.mean(), policy_N),
        torch.autograd.grad(expected, policy_N),
    )
    for label, name in ((True, "rewards/chosen"), (False, "rewards/rejected")):
        if (desirable_N == label).any():
            mean = terms.reward_N[desirable_N == label].mean().item()
            assert mean == pytest.approx(reported[name][0])


def test_baseline_by_hand():
    """(2 + 5 - 1) / 3 = 2; a negative mean is 0."""
    policy_M, reference_M = torch.tensor([[-1.0, -1.0, -4.0], [-3.0, -6.0, -3.0]])
    assert kl_sum(policy_M, reference_M) == KlSum(torch.tensor(6.0), torch.tensor(3.0))
    assert kl_baseline(kl_sum(policy_M, reference_M)).item() == 2.0
    assert kl_baseline(kl_sum(reference_M, policy_M)).item() == 0.0
    assert not kl_sum(policy_M.requires_grad_(), reference_M).nats.requires_grad


logprobs = st.floats(-300, 0)


@st.composite
def some_completions(draw: st.DrawFn) -> Completions:
    rows = draw(st.lists(st.tuples(logprobs, logprobs, st.booleans()), min_size=1, max_size=6))
    policy, reference, desirable = zip(*rows, strict=True)
    return Completions(
        torch.tensor(policy, dtype=torch.float64),
        torch.tensor(reference, dtype=torch.float64),
        torch.tensor(desirable),
    )


@given(completions=some_completions(), data=st.data())
def test_sums_add_up_and_order_is_free(completions, data):
    """With one baseline for the step, made of the sums of both micro-batches."""
    kto, size = Kto(undesirable_weight=0.5), len(completions.policy_N)
    cut = data.draw(st.integers(0, size))
    halves = [
        Completions(*(one[:cut] for one in completions)),
        Completions(*(one[cut:] for one in completions)),
    ]
    sums = [kl_sum(half.policy_N, half.reference_N) for half in halves]
    total = KlSum(*(sum(parts) for parts in zip(*sums, strict=True)))
    baseline = kl_baseline(kl_sum(completions.policy_N, completions.reference_N))
    torch.testing.assert_close(kl_baseline(total), baseline)
    whole = kto.terms(completions, baseline).loss_N
    added = sum(kto.terms(half, baseline).loss_N.sum() for half in halves)
    torch.testing.assert_close(added, whole.sum())
    order = data.draw(st.permutations(range(size)))
    shuffled = kto.terms(Completions(*(one[order] for one in completions)), baseline)
    torch.testing.assert_close(shuffled.loss_N, whole[order], rtol=0, atol=0)


@given(completions=some_completions(), baseline=st.floats(0, 100))
def test_the_other_label_has_the_other_loss(completions, baseline):
    """1 - s(x) and 1 - s(-x) add up to 1."""
    flipped = completions._replace(desirable_N=~completions.desirable_N)
    added = sum(Kto().terms(one, number(baseline)).loss_N for one in (completions, flipped))
    torch.testing.assert_close(added, torch.ones_like(added))


@pytest.mark.parametrize(("ratio", "loss"), [(1e4, 0.0), (-1e4, 1.0), (-torch.inf, 1.0)])
def test_extreme_ratios_stay_finite(ratio, loss):
    policy_N = torch.tensor([ratio], requires_grad=True)
    batch = Completions(policy_N, torch.zeros(1), torch.tensor([True]))
    loss_N = Kto().terms(batch, torch.tensor(0.0)).loss_N
    loss_N.backward()
    assert (loss_N.item(), policy_N.grad.item()) == (loss, 0.0)


def test_small_losses_keep_their_digits():
    """1 - s(50) is 0 in float32, s(-50) is not."""
    batch = Completions(torch.tensor([500.0]), torch.zeros(1), torch.tensor([True]))
    loss = Kto().terms(batch, torch.tensor(0.0)).loss_N.item()
    assert loss == pytest.approx(math.exp(-50), rel=1e-4, abs=0)


def test_dtype_and_device_of_the_baseline_do_not_widen_the_loss():
    batch = Completions(torch.zeros(2), torch.zeros(2), torch.tensor([True, False]))
    assert Kto().terms(batch, number(0.0)).loss_N.dtype == torch.float32


def test_no_completions_are_nothing():
    empty = torch.zeros(0)
    terms = Kto().terms(Completions(empty, empty, empty.bool()), torch.tensor(0.0))
    assert [tuple(one.shape) for one in terms] == [(0,), (0,)]
    assert mismatched(torch.zeros(0, dtype=torch.int64)).tolist() == []
    with pytest.raises(TrainingError, match=r"at least one mismatched .*batch_records to 2"):
        kl_baseline(kl_sum(empty, empty))


def test_mismatched_by_hand():
    """Sorted by prompt: completions 1, 3 (prompt 2), 0 (5), 2 (9); shifted by two."""
    assert mismatched(torch.tensor([5, 2, 9, 2])).tolist() == [1, 0, 3, 2]


@given(st.lists(st.integers(0, 4), max_size=12))
def test_mismatched_answers_another_prompt_once_each(prompts):
    most = max(Counter(prompts).values(), default=0)
    assume(2 * most <= len(prompts))
    chosen = mismatched(torch.tensor(prompts, dtype=torch.int64)).tolist()
    assert sorted(chosen) == list(range(len(prompts)))
    assert all(prompts[own] != prompts[other] for own, other in enumerate(chosen))


def test_one_prompt_may_have_half_of_the_completions():
    with pytest.raises(TrainingError, match=r"one prompt has 3 of the 5 completions.*or mix"):
        mismatched(torch.tensor([1, 1, 1, 0, 2]))
    with pytest.raises(TrainingError, match=r"one prompt has 1 of the 1 completions"):
        mismatched(torch.tensor([1]))


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_balanced_weights_give_equal_totals(desirable, undesirable):
    up, down = balanced_weights(desirable, undesirable)
    assert up * desirable == pytest.approx(down * undesirable)
    assert min(up, down) == 1.0


@pytest.mark.parametrize(("desirable", "undesirable"), [(0, 5), (5, 0)])
def test_one_kind_cannot_be_balanced(desirable, undesirable):
    message = f"{desirable} desirable and {undesirable} undesirable .*Add data of the missing kind"
    with pytest.raises(TrainingError, match=message):
        balanced_weights(desirable, undesirable)


def test_bad_input_is_refused():
    good = hand_completions()
    with pytest.raises(ValueError, match=r"one number per completion; shapes are .*\(3,\)"):
        Kto().terms(good._replace(reference_N=good.reference_N[:3]), number(0.0))
    with pytest.raises(ValueError, match=r"must be bool, as True or False; got torch.int64"):
        Kto().terms(good._replace(desirable_N=good.desirable_N.long()), number(0.0))
    with pytest.raises(ValueError, match=r"one number for the whole step.*\(4,\)"):
        Kto().terms(good, torch.zeros(4))
    with pytest.raises(ValueError, match=r"policy_N is torch.float16; .*must be float32"):
        Kto().terms(good._replace(policy_N=good.policy_N.half()), number(0.0))
    with pytest.raises(ValueError, match=r"the same completions; shapes are \(2,\) and \(1,\)"):
        kl_sum(torch.zeros(2), torch.zeros(1))
    with pytest.raises(ValueError, match=r"reference_M is torch.bfloat16"):
        kl_sum(torch.zeros(2), torch.zeros(2).bfloat16())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0.0}, r"objective.beta: is 0.0; it must be above 0. 0.1 is usual."),
        ({"desirable_weight": -1.0}, r"objective.desirable_weight: is -1.0; .*`balanced_weights`"),
        ({"undesirable_weight": math.inf}, r"objective.undesirable_weight: is inf; .*finite"),
        (
            {"desirable_weight": 0.0, "undesirable_weight": 0.0},
            r"desirable_weight \+ undesirable_weight: is 0.0; it must be above 0",
        ),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Kto(**settings)
