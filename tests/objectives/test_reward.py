"""Reward models: pairs by hand and against TRL; lists as a distribution over orders."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RecipeError, TrainingError
from danlu.objectives.reward import ListTerms, Reward
from tests.objectives import trl_reference


def nats(x: float) -> float:
    """-log s(x)."""
    return math.log1p(math.exp(-x))


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def one_list(objective: Reward, scores, ranks, data_scores=None) -> ListTerms:
    return objective.list_terms(
        torch.as_tensor(scores, dtype=torch.float64),
        torch.zeros(len(scores), dtype=torch.int64),
        torch.as_tensor(ranks),
        groups=1,
        data_score_N=None if data_scores is None else torch.as_tensor(data_scores),
    )


def test_pairs_by_hand():
    """Score gaps 1.5 and -2; data gaps 3 and 1 at a margin of 1/2 a point: gaps 0 and -2.5."""
    chosen_P, rejected_P = leaf(2.0, -1.0), leaf(0.5, 1.0)
    terms = Reward().pair_terms(chosen_P, rejected_P)
    assert terms.loss_P.tolist() == pytest.approx([nats(1.5), nats(-2.0)])
    assert terms.margin_P.tolist() == [1.5, -2.0]
    assert terms.chosen_reward_P.tolist() == [2.0, -1.0]
    assert terms.rejected_reward_P.tolist() == [0.5, 1.0]
    gaps_P = torch.tensor([3, 1])
    terms = Reward(margin_weight=0.5).pair_terms(chosen_P, rejected_P, gaps_P)
    assert terms.loss_P.tolist() == pytest.approx([math.log(2), nats(-2.5)])
    assert terms.margin_P.tolist() == [1.5, -2.0]
    terms = Reward(centering=0.1).pair_terms(chosen_P, rejected_P)
    assert terms.loss_P.tolist() == pytest.approx([nats(1.5) + 0.1 * 2.5**2, nats(-2.0)])


@pytest.mark.parametrize("margin", [False, True])
@pytest.mark.parametrize("centering", [0.0, 0.1])
def test_pairs_equal_trl(margin, centering):
    torch.manual_seed(0)
    chosen_P, rejected_P = torch.randn(2, 6, dtype=torch.float64).unbind()
    chosen_P.requires_grad_()
    rejected_P.requires_grad_()
    margin_P = 3 * torch.rand(6, dtype=torch.float64) if margin else None
    expected, reported = trl_reference.reward(chosen_P, rejected_P, margin_P, centering or None)
    objective = Reward(margin_weight=float(margin), centering=centering)
    terms = objective.pair_terms(chosen_P, rejected_P, margin_P)
    torch.testing.assert_close(terms.loss_P.mean(), expected)
    torch.testing.assert_close(
        torch.autograd.grad(terms.loss_P.mean(), (chosen_P, rejected_P)),
        torch.autograd.grad(expected, (chosen_P, rejected_P)),
    )
    assert (terms.margin_P > 0).double().mean().item() == pytest.approx(reported["accuracy"][0])
    assert terms.margin_P.mean().item() == pytest.approx(reported["margin"][0])


def test_a_list_by_hand():
    """Scores log 4, log 2, log 1 with ranks 2, 1, 3: 2/7 is chosen first, then 4/5, then 1.

    Pairs, better over worse: log 2 - log 4, log 2 - log 1, log 4 - log 1: two of three are right,
    and the differences add up to 2 log 2.
    """
    terms = one_list(Reward(), [math.log(4), math.log(2), 0.0], [2, 1, 3])
    assert terms.loss_G.tolist() == pytest.approx([math.log(7 / 2) + math.log(5 / 4)])
    assert terms.choices_G.tolist() == [2]
    assert terms.margin_G.tolist() == pytest.approx([2 * math.log(2)])
    assert (terms.correct_G.tolist(), terms.pairs_G.tolist()) == ([2], [3])


def test_ties_by_hand():
    """Ranks 1, 2, 2, 3 and weights 4, 2, 1, 3: 4/10 first; then 2/(2+3) and 1/(1+3); then 3/3."""
    scores = [math.log(weight) for weight in (4, 2, 1, 3)]
    terms = one_list(Reward(ties="allow"), scores, [1, 2, 2, 3])
    assert terms.loss_G.tolist() == pytest.approx([math.log(10 / 4 * 5 / 2 * 4)])
    assert terms.choices_G.tolist() == [3]
    # 4 > 2, 4 > 1 and 4 > 3 are right, 2 > 3 and 1 > 3 are wrong; 2 and 1 are not compared.
    assert (terms.correct_G.tolist(), terms.pairs_G.tolist()) == ([3], [5])
    assert terms.margin_G.tolist() == pytest.approx(
        [math.log(4 / 2) + math.log(4 / 1) + math.log(4 / 3) + math.log(2 / 3) + math.log(1 / 3)]
    )


def test_margins_of_a_list_by_hand():
    """Data scores 5, 3, 2 at log 2 a point: rivals weigh 2^2 and 2^3 times more, then 2 times.

    Weights 4, 2, 1: 1 + (2 * 4 + 1 * 8) / 4 = 5 and 1 + (1 * 2) / 2 = 2.
    """
    scores = [math.log(4), math.log(2), 0.0]
    objective = Reward(margin_weight=math.log(2))
    terms = one_list(objective, scores, [1, 2, 3], [5, 3, 2])
    assert terms.loss_G.tolist() == pytest.approx([math.log(5) + math.log(2)])
    assert terms.margin_G.tolist() == one_list(Reward(), scores, [1, 2, 3]).margin_G.tolist()


def test_centering_of_a_list_by_hand():
    """The mean of 4, -1 and 0 is 1: 4 * 0.1 * 1 more."""
    plain = one_list(Reward(), [4.0, -1.0, 0.0], [1, 2, 3]).loss_G
    centred = one_list(Reward(centering=0.1), [4.0, -1.0, 0.0], [1, 2, 3]).loss_G
    assert (centred - plain).tolist() == pytest.approx([0.4])


scores_of = st.floats(-20, 20)


@given(st.lists(scores_of, min_size=2, max_size=4))
def test_all_orders_of_a_list_have_probability_one(scores):
    """exp(-loss) is the probability of the order, which no pairwise loss would give."""
    total = sum(
        math.exp(-one_list(Reward(), scores, order).loss_G.item())
        for order in itertools.permutations(range(len(scores)))
    )
    assert total == pytest.approx(1)


@given(
    chosen=scores_of,
    rejected=scores_of,
    data_score=st.floats(-3, 3),
    gap=st.floats(0, 3),
    margin_weight=st.floats(0, 2),
    centering=st.floats(0, 1),
)
def test_a_list_of_two_is_a_pair(chosen, rejected, data_score, gap, margin_weight, centering):
    objective = Reward(margin_weight=margin_weight, centering=centering)
    chosen_P, rejected_P = leaf(chosen), leaf(rejected)
    data_N = torch.tensor([data_score - gap, data_score], dtype=torch.float64)
    pair = objective.pair_terms(chosen_P, rejected_P, data_N[1:] - data_N[:1])
    scores_N = torch.cat([rejected_P, chosen_P])
    group_N = torch.zeros(2, dtype=torch.int64)
    listed = objective.list_terms(scores_N, group_N, torch.tensor([2, 1]), 1, data_N)
    torch.testing.assert_close(listed.loss_G, pair.loss_P, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(listed.margin_G, pair.margin_P)
    assert listed.correct_G.bool().tolist() == (pair.margin_P > 0).tolist()
    assert (listed.choices_G.item(), listed.pairs_G.item()) == (1, 1)
    torch.testing.assert_close(
        torch.autograd.grad(listed.loss_G.sum(), (chosen_P, rejected_P)),
        torch.autograd.grad(pair.loss_P.sum(), (chosen_P, rejected_P)),
        rtol=1e-6,
        atol=1e-9,
    )


@st.composite
def some_lists(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """One to four lists of two to five answers, with ties, in the order of their lists."""
    sizes = draw(st.lists(st.integers(2, 5), min_size=1, max_size=4))
    ranks = [
        draw(
            st.lists(st.integers(1, 3), min_size=size, max_size=size).filter(
                lambda one: len(set(one)) > 1
            )
        )
        for size in sizes
    ]
    number = sum(sizes)
    scores = draw(st.lists(scores_of, min_size=number, max_size=number))
    return (
        torch.tensor(scores, dtype=torch.float64),
        torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        torch.tensor([rank for one in ranks for rank in one]),
        len(sizes),
    )


@given(lists=some_lists(), data=st.data())
def test_neither_order_nor_company_matters(lists, data):
    """Answers of all lists shuffled, or each list on its own: the same numbers per list."""
    scores_N, group_N, rank_N, groups = lists
    objective = Reward(ties="allow", centering=0.1)
    whole = objective.list_terms(*lists)
    order = data.draw(st.permutations(range(len(scores_N))))
    shuffled = objective.list_terms(scores_N[order], group_N[order], rank_N[order], groups)
    alone = [
        one_list(objective, scores_N[group_N == group], rank_N[group_N == group])
        for group in range(groups)
    ]
    for name in ListTerms._fields:
        expected = getattr(whole, name)
        torch.testing.assert_close(getattr(shuffled, name), expected)
        torch.testing.assert_close(torch.cat([getattr(one, name) for one in alone]), expected)


@given(lists=some_lists(), shift=st.floats(-100, 100))
def test_only_differences_of_scores_count_without_centering(lists, shift):
    scores_N, *rest = lists
    for name in ("loss_G", "margin_G"):
        one, other = (
            getattr(Reward(ties="allow").list_terms(scores, *rest), name)
            for scores in (scores_N, scores_N + shift)
        )
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_only_the_order_of_ranks_counts():
    one, other = (one_list(Reward(), [1.0, -1.0, 0.5], ranks) for ranks in ([1, 3, 2], [-7, 40, 0]))
    assert one == other


def test_gradients():
    scores_N = torch.tensor([0.3, -1.2, 0.8, 2.0, 0.1], dtype=torch.float64, requires_grad=True)
    group_N, rank_N = torch.tensor([0, 1, 0, 0, 1]), torch.tensor([2, 1, 2, 1, 3])
    data_N = torch.tensor([1.0, 4.0, 1.5, 3.0, 2.0])
    objective = Reward(ties="allow", margin_weight=0.5, centering=0.1)

    def losses(scores_N: torch.Tensor) -> torch.Tensor:
        return objective.list_terms(scores_N, group_N, rank_N, 2, data_N).loss_G

    assert torch.autograd.gradcheck(losses, scores_N)
    terms = objective.list_terms(scores_N, group_N, rank_N, 2, data_N)
    assert not any(one.requires_grad for one in terms[1:])

    def losses(chosen_P: torch.Tensor, rejected_P: torch.Tensor) -> torch.Tensor:
        return objective.pair_terms(chosen_P, rejected_P, torch.tensor([0.0, 2.0])).loss_P

    assert torch.autograd.gradcheck(losses, (leaf(0.5, -1.0), leaf(1.0, 2.0)))


def test_extreme_scores_stay_finite():
    """Right by 2e4: no loss and no slope. Wrong by 2e4: that many nats, and a slope of 1."""
    for better, worse, loss, slope in ((1e4, -1e4, 0.0, 0.0), (-1e4, 1e4, 2e4, -1.0)):
        scores_N = torch.tensor([better, worse], requires_grad=True)
        terms = Reward().list_terms(scores_N, torch.zeros(2).long(), torch.tensor([1, 2]), 1)
        terms.loss_G.sum().backward()
        assert terms.loss_G.tolist() == [loss]
        assert scores_N.grad.tolist() == [slope, -slope]
        assert Reward().pair_terms(*scores_N.detach().split(1)).loss_P.tolist() == [loss]


def test_scores_of_a_half_precision_head_are_widened():
    """300 answers counted, and differences summed, in float32."""
    scores_N = torch.linspace(-1, 1, 300).bfloat16().requires_grad_()
    group_N, rank_N = torch.zeros(300, dtype=torch.int64), torch.arange(300)
    terms = Reward(centering=1.0).list_terms(scores_N, group_N, rank_N, 1)
    wide = Reward(centering=1.0).list_terms(scores_N.double(), group_N, rank_N, 1)
    assert terms.loss_G.dtype == torch.float32
    torch.testing.assert_close(terms.loss_G, wide.loss_G.float(), rtol=1e-5, atol=0)
    torch.testing.assert_close(terms.margin_G, wide.margin_G.float(), rtol=1e-5, atol=0)
    terms.loss_G.sum().backward()
    assert scores_N.grad.dtype == torch.bfloat16
    half = torch.tensor([1.0], dtype=torch.bfloat16)
    assert Reward().pair_terms(half, -half).loss_P.tolist() == pytest.approx([nats(2.0)], rel=1e-6)


def test_nothing_is_nothing():
    none, ids = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert [tuple(one.shape) for one in Reward().pair_terms(none, none)] == [(0,)] * 4
    assert [tuple(one.shape) for one in Reward().list_terms(none, ids, ids, 0)] == [(0,)] * 5


def test_bad_pairs_are_refused():
    one, two = torch.zeros(1), torch.zeros(2)
    with pytest.raises(ValueError, match=r"two scores; shapes are \(2,\) and \(1,\)"):
        Reward().pair_terms(two, one)
    with pytest.raises(ValueError, match=r"data score gap per pair; its shape is None"):
        Reward(margin_weight=1.0).pair_terms(two, two)
    with pytest.raises(ValueError, match=r"data score gap per pair; its shape is \(1,\)"):
        Reward(margin_weight=1.0).pair_terms(two, two, one)
    for wrong in (-0.5, math.nan, math.inf):
        with pytest.raises(
            TrainingError, match=rf"pair 1 of 2 has a data score gap of {wrong}: .* Swap them"
        ):
            Reward(margin_weight=1.0).pair_terms(two, two, torch.tensor([1.0, wrong]))


def test_bad_lists_are_refused():
    scores_N, group_N = torch.zeros(4), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"a score, a group and a rank; .*\(4,\) and \(3,\)"):
        Reward().list_terms(scores_N, group_N, torch.tensor([1, 2, 1]), 2)
    tied = torch.tensor([1, 2, 1, 1])
    with pytest.raises(TrainingError, match=r"list 1 of 2 ranks .*equally.*objective.ties to 'all"):
        Reward().list_terms(scores_N, group_N, tied, 2)
    with pytest.raises(TrainingError, match=r"list 1 of 2 has nothing to compare.*remove the rec"):
        Reward(ties="allow").list_terms(scores_N, group_N, tied, 2)
    ranks = torch.tensor([1, 2, 2, 1])
    with pytest.raises(TrainingError, match=r"list 2 of 3 has nothing to compare"):
        Reward().list_terms(scores_N, group_N, ranks, 3)
    with pytest.raises(ValueError, match=r"a data score per answer; its shape is None"):
        Reward(margin_weight=1.0).list_terms(scores_N, group_N, ranks, 2)
    data = torch.tensor([5.0, 4.0, 3.0, 2.5])
    with pytest.raises(
        TrainingError,
        match=r"list 1 of 2 ranks .* score 2.5 above one with 3.0; .*margin_weight to 0",
    ):
        Reward(margin_weight=1.0).list_terms(scores_N, group_N, ranks, 2, data)
    data = torch.tensor([5.0, math.nan, 2.5, 3.0])
    with pytest.raises(TrainingError, match=r"list 0 of 2 .* score 5.0 above one with nan"):
        Reward(margin_weight=1.0).list_terms(scores_N, group_N, ranks, 2, data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"margin_weight": -1.0},
            r"objective.margin_weight: is -1.0; it must be at least 0. 0 ign",
        ),
        ({"centering": math.nan}, r"objective.centering: is nan; it must be finite and at least 0"),
        ({"ties": "drop"}, r"objective.ties: 'drop' is unknown. Allowed: allow, refuse."),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Reward(**settings)
