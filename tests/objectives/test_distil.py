"""Distillation by hand, and against torch's own divergence and cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from danlu.errors import RecipeError
from danlu.objectives.distil import Distil, TopTokens, kl_divergence, lumped_logprobs


def case(predictions=5, vocabulary=8, dtype=torch.float64):
    """Student, teacher, targets and weights; both models ask for gradients."""
    torch.manual_seed(0)
    student, teacher = (
        (2 * torch.randn(predictions, vocabulary, dtype=dtype)).requires_grad_() for _ in range(2)
    )
    target = torch.randint(0, vocabulary, (predictions,))
    return student, teacher, target, torch.rand(predictions)


def probabilities(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_both_directions_by_hand():
    """Teacher (1/2, 1/4, 1/4), student (1/4, 1/4, 1/2), target the first: all in powers of two.

    Forward: 1/2 log 2 - 1/4 log 2 = log 2 / 4, and reverse is the same by symmetry of this pair.
    Teacher (1/2, 1/2, 0) is not symmetric: forward 1/2 log 2 + 1/2 log 2, and reverse is infinite.
    """
    student = probabilities([0.25, 0.25, 0.5], [0.25, 0.25, 0.5])
    teacher = probabilities([0.5, 0.25, 0.25], [0.5, 0.5, 0.0])
    target, weight = torch.tensor([0, 2]), torch.tensor([2.0, 4.0])
    sums = Distil(nll_weight=0.25).sums(student, teacher, target, weight)
    assert sums.divergence_C.tolist() == pytest.approx([math.log(2) / 4, math.log(2)])
    assert sums.nll_C.tolist() == pytest.approx([math.log(4), math.log(2)])
    assert sums.loss.item() == pytest.approx(
        2 * (0.75 * math.log(2) / 4 + 0.25 * math.log(4)) + 4 * math.log(2)
    )
    sums = Distil(divergence="reverse", nll_weight=0.0).sums(student, teacher, target, weight)
    assert sums.divergence_C.tolist() == pytest.approx([math.log(2) / 4, math.inf])


def test_temperature_by_hand():
    """At T = 2 probabilities go as square roots: (9, 1) / 10 softens to (3, 1) / 4.

    Against (1, 1) / 2: 3/4 log 3/2 + 1/4 log 1/2 nats, and the loss has T^2 = 4 times that.
    """
    student, teacher = probabilities([0.5, 0.5]), probabilities([0.9, 0.1])
    one, target = torch.ones(1), torch.tensor([0])
    sums = Distil(temperature=2.0, nll_weight=0.0).sums(student, teacher, target, one)
    nats = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert sums.divergence_C.tolist() == pytest.approx([nats])
    assert sums.loss.item() == pytest.approx(4 * nats)
    # The nll is of the model itself, without temperature.
    mixed = Distil(temperature=2.0, nll_weight=0.5).sums(student, teacher, target, one)
    assert mixed.loss.item() == pytest.approx(2 * nats + 0.5 * math.log(2))


def test_top_tokens_by_hand():
    """The teacher's likeliest are tokens 3 and 1, at 1/2 and 1/4; the other two are a lump of 1/4.

    The student has 1/2, 1/8 and 3/8 there: 1/2 log 1 + 1/4 log 2 + 1/4 log((1/4) / (3/8)).
    """
    teacher = probabilities([0.125, 0.25, 0.125, 0.5])
    student = probabilities([0.25, 0.125, 0.125, 0.5])
    distil = Distil(nll_weight=0.0, top_k=2)
    top = distil.top_tokens(teacher)
    assert top.ids_CK.tolist() == [[3, 1]]
    assert top.logprobs_CK1.exp().tolist() == [pytest.approx([0.5, 0.25, 0.25])]
    expected = 0.25 * math.log(2) + 0.25 * math.log(2 / 3)
    for given_teacher in (teacher, top):
        sums = distil.sums(student, given_teacher, torch.tensor([0]), torch.ones(1))
        assert sums.divergence_C.tolist() == pytest.approx([expected])


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("nll_weight", [0.0, 0.3, 1.0])
def test_equals_torch(divergence, temperature, nll_weight):
    """torch's ``kl_div(a, b)`` is KL(b || a)."""
    student, teacher, target, weight = case()
    sums = Distil(divergence, temperature, nll_weight).sums(student, teacher, target, weight)
    both = [(one / temperature).log_softmax(-1) for one in (student, teacher.detach())]
    if divergence == "reverse":
        both.reverse()
    kl_C = functional.kl_div(*both, reduction="none", log_target=True).sum(-1)
    nll_C = functional.cross_entropy(student, target, reduction="none")
    expected = (weight * ((1 - nll_weight) * temperature**2 * kl_C + nll_weight * nll_C)).sum()
    torch.testing.assert_close(sums.loss, expected)
    torch.testing.assert_close(sums.divergence_C, kl_C.detach())
    torch.testing.assert_close(sums.nll_C, nll_C.detach())
    torch.testing.assert_close(
        torch.autograd.grad(sums.loss, student), torch.autograd.grad(expected, student)
    )


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@pytest.mark.parametrize("top_k", [None, 3, 8])
@pytest.mark.parametrize("nll_weight", [0.0, 0.3])
def test_gradients_reach_the_student_alone(divergence, top_k, nll_weight):
    student, teacher, target, weight = case()
    distil = Distil(divergence, 2.0, nll_weight, top_k)

    def loss(student_CV: torch.Tensor) -> torch.Tensor:
        return distil.sums(student_CV, teacher, target, weight.double()).loss

    assert torch.autograd.gradcheck(loss, student)
    sums = distil.sums(student, teacher, target, weight)
    sums.loss.backward()
    assert teacher.grad is None
    assert not sums.divergence_C.requires_grad
    assert not sums.nll_C.requires_grad
    if top_k is not None:
        ids, logprobs = distil.top_tokens(teacher)
        assert not logprobs.requires_grad
        kept = TopTokens(ids, logprobs.requires_grad_())
        distil.sums(student, kept, target, weight).loss.backward()
        assert logprobs.grad is None


def test_the_slope_keeps_its_size_at_any_temperature():
    """Of T^2 KL in the student's logits: T (student - teacher), softened; by hand at T = 4."""
    student, teacher, target, _ = case(predictions=1)
    loss = (
        Distil(temperature=4.0, nll_weight=0.0).sums(student, teacher, target, torch.ones(1)).loss
    )
    expected = 4 * ((student / 4).softmax(-1) - (teacher / 4).softmax(-1))
    torch.testing.assert_close(torch.autograd.grad(loss, student)[0], expected)


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_all_tokens_as_top_tokens_are_the_whole_vocabulary(divergence):
    """Also with more asked for than there are: the lump is empty."""
    student, teacher, target, weight = case()
    expected = Distil(divergence).sums(student, teacher, target, weight)
    for top_k in (8, 100):
        found = Distil(divergence, top_k=top_k).sums(student, teacher, target, weight)
        torch.testing.assert_close(found.loss, expected.loss)
        torch.testing.assert_close(
            torch.autograd.grad(found.loss, student),
            torch.autograd.grad(expected.loss, student, retain_graph=True),
        )


@given(
    logits=st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30)), min_size=2, max_size=7),
    top_k=st.integers(1, 7),
    divergence=st.sampled_from(["forward", "reverse"]),
)
def test_lumping_never_raises_the_divergence(logits, top_k, divergence):
    student, teacher = torch.tensor(logits, dtype=torch.float64).T.unsqueeze(1)
    arguments = (student, teacher, torch.tensor([0]), torch.ones(1))
    lumped = Distil(divergence, top_k=top_k).sums(*arguments).divergence_C.item()
    whole = Distil(divergence).sums(*arguments).divergence_C.item()
    assert -1e-12 <= lumped <= whole + 1e-9


@given(cut=st.integers(0, 5), order=st.permutations(range(5)), top_k=st.sampled_from([None, 3]))
def test_sums_add_up_and_order_is_free(cut, order, top_k):
    student, teacher, target, weight = case()
    distil = Distil(temperature=2.0, top_k=top_k)
    whole = distil.sums(student, teacher, target, weight)
    parts = [
        distil.sums(student[here], teacher[here], target[here], weight[here])
        for here in (order[:cut], order[cut:])
    ]
    torch.testing.assert_close(sum(one.loss for one in parts), whole.loss)
    for name in ("divergence_C", "nll_C"):
        found = torch.cat([getattr(one, name) for one in parts])
        torch.testing.assert_close(found, getattr(whole, name)[order])


def test_what_was_kept_on_disk_serves_as_well():
    """In half precision, and by an objective that would have kept another number."""
    student, teacher, target, weight = case()
    top = Distil(top_k=3).top_tokens(teacher)
    kept = TopTokens(top.ids_CK, top.logprobs_CK1.half())
    expected = Distil(top_k=3).sums(student, teacher, target, weight).loss
    torch.testing.assert_close(Distil().sums(student, top, target, weight).loss, expected)
    torch.testing.assert_close(
        Distil(top_k=5).sums(student, kept, target, weight).loss, expected, rtol=1e-3, atol=1e-3
    )


def test_half_precision_logits_are_widened():
    student, teacher, target, weight = case(dtype=torch.bfloat16)
    for top_k in (None, 3):
        distil = Distil(temperature=3.0, top_k=top_k)
        found = distil.sums(student, teacher, target, weight)
        expected = distil.sums(student.float(), teacher.float(), target, weight)
        assert found.loss.dtype == torch.float32
        torch.testing.assert_close(found.loss, expected.loss, rtol=0, atol=0)
    found.loss.backward()
    assert student.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_extreme_logits_stay_finite(divergence, top_k):
    """Both are certain, of different tokens: 1,000 nats apart, in float32.

    Alone in the top, the teacher's token leaves three others, of 1 + 2 / e times exp(-1000).
    """
    student = torch.tensor([[1000.0, 0.0, 0.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 1000.0, -1.0, -1.0]])
    distil = Distil(divergence, nll_weight=0.0, top_k=top_k)
    sums = distil.sums(student, teacher, torch.tensor([1]), torch.ones(1))
    sums.loss.backward()
    lumped = (divergence, top_k) == ("reverse", 1)
    expected = 1000 - math.log(1 + 2 / math.e) if lumped else 1000.0
    assert sums.divergence_C.tolist() == pytest.approx([expected])
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@pytest.mark.parametrize("top_k", [None, 1, 2, 3])
def test_tokens_that_both_exclude_add_nothing(divergence, top_k):
    """Rows of padding in the vocabulary are often -inf; the lump may be made of them alone."""
    student = torch.tensor([[1.0, 0.0, -torch.inf, -torch.inf]], requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0, -torch.inf, -torch.inf]])
    target, one = torch.tensor([1]), torch.ones(1)
    found = Distil(divergence, top_k=top_k).sums(student, teacher, target, one)
    real = student.detach()[:, :2].requires_grad_()
    expected = Distil(divergence).sums(real, teacher[:, :2], target, one)
    torch.testing.assert_close(found.loss, expected.loss)
    found.loss.backward()
    expected.loss.backward()
    torch.testing.assert_close(student.grad[:, :2], real.grad)
    assert student.grad[:, 2:].tolist() == [[0.0, 0.0]]


def test_a_part_of_no_weight_adds_nothing_even_where_it_is_infinite():
    student = torch.zeros(1, 2, requires_grad=True)
    teacher = torch.tensor([[0.0, -torch.inf]])
    target, one = torch.tensor([1]), torch.ones(1)
    sums = Distil("reverse", nll_weight=1.0).sums(student, teacher, target, one)
    assert sums.loss.item() == pytest.approx(math.log(2))
    assert sums.divergence_C.tolist() == [math.inf]
    (slope,) = torch.autograd.grad(sums.loss, student)
    assert slope.tolist() == [[0.5, -0.5]]
    impossible = torch.tensor([[0.0, -torch.inf]], requires_grad=True)
    sums = Distil(nll_weight=0.0).sums(impossible, teacher, target, one)
    assert (sums.loss.item(), sums.nll_C.tolist()) == (0.0, [math.inf])


def test_no_predictions_are_zero():
    student, teacher, target, weight = (one[:0] for one in case())
    for top_k in (None, 3):
        sums = Distil(top_k=top_k).sums(student, teacher, target, weight)
        assert (sums.loss.item(), len(sums.divergence_C), len(sums.nll_C)) == (0.0, 0, 0)
        assert sums.loss.requires_grad


def test_nothing_is_recorded_where_gradients_are_off():
    with torch.no_grad():
        assert not Distil().sums(*case()).loss.requires_grad


def test_parts_by_hand():
    assert kl_divergence(*probabilities([0.0, 1.0], [0.5, 0.5])).item() == pytest.approx(
        math.log(2)
    )
    lumped = lumped_logprobs(probabilities([0.125, 0.5, 0.25, 0.125]), torch.tensor([[2, 0]]))
    assert lumped.exp().tolist() == [pytest.approx([0.25, 0.125, 0.625])]


def test_bad_input_is_refused():
    student, teacher, target, weight = case()
    with pytest.raises(ValueError, match=r"\(5, 8\), the teacher's \(5, 7\).*another tokenizer"):
        Distil().sums(student, teacher[:, :7], target, weight)
    with pytest.raises(ValueError, match=r"must be the same"):
        Distil(top_k=2).sums(student, teacher[:4], target, weight)
    with pytest.raises(ValueError, match=r"a target and a weight; .*\(5, 8\), \(4,\) and \(5,\)"):
        Distil().sums(student, teacher, target[:4], weight)
    with pytest.raises(ValueError, match=r"\(5,\) and \(5, 1\)"):
        Distil().sums(student, teacher, target, weight.unsqueeze(1))
    with pytest.raises(ValueError, match="top_k is None; the whole distribution is not shortened"):
        Distil().top_tokens(teacher)
    top = Distil(top_k=2).top_tokens(teacher)
    with pytest.raises(
        ValueError, match=r"\(5, 2\) and their log-probabilities \(5, 2\); for 5 pre"
    ):
        Distil().sums(student, top._replace(logprobs_CK1=top.logprobs_CK1[:, :2]), target, weight)
    with pytest.raises(ValueError, match=r"for 4 predictions they must be \(C, K\) and"):
        Distil().sums(student[:4], top, target[:4], weight[:4])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"divergence": "forwards"},
            r"objective.divergence: 'forwards' is unknown. Did you mean 'f",
        ),
        (
            {"temperature": 0.0},
            r"objective.temperature: is 0.0; it must be above 0. 1 to 4 is usual",
        ),
        (
            {"nll_weight": 1.5},
            r"objective.nll_weight: is 1.5; it must be at least 0 and at most 1. 0",
        ),
        (
            {"top_k": 0},
            r"objective.top_k: is 0; it must be at least 1. 64 is usual, None is the wh",
        ),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Distil(**settings)
