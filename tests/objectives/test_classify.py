"""Classification: losses by hand and against torch's own, scores from counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from danlu.errors import RecipeError
from danlu.models.forest_support import ordinary_attention, use_forest_attention
from danlu.models.readout import Readout, ReadoutInfo
from danlu.objectives import Answers, Predictions
from danlu.objectives.classification import Classification
from danlu.objectives.classify import Classify, macro_f1, micro_f1
from danlu.runs.wording import metric
from danlu.sequences.branch import Branch
from danlu.sequences.forest import build_packs, build_rows
from danlu.training.scoring import ScoringModel
from tests.models.test_forest_equality import VOCABULARY, tiny

ONES = torch.ones(2, 3, dtype=torch.float64)


def logits_of(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


def one_hot(*classes: int, of: int = 3) -> torch.Tensor:
    return functional.one_hot(torch.tensor(classes), of).bool()


def test_one_class_by_hand():
    """exp of the logits is (4, 2, 2) and (1, 1, 6): p of the labels 0 and 1 is 1/2 and 1/8.

    Weights (3, 1, 1): the losses are 3 ln 2 and ln 8, over 3 + 1.
    """
    logits = logits_of([math.log(4), math.log(2), math.log(2)], [0.0, 0.0, math.log(6)])
    weights = torch.tensor([[3.0, 1.0, 1.0]] * 2)
    terms = Classify().terms(logits, one_hot(0, 1), weights)
    assert terms.loss_N.tolist() == pytest.approx([3 * math.log(2), math.log(8)])
    assert terms.weight_N.tolist() == [3.0, 1.0]
    assert terms.said_NC.tolist() == [[True, False, False], [False, False, True]]


def test_many_classes_by_hand():
    """Probabilities (3/4, 1/2) and labels (yes, no): -ln 3/4 and -ln 1/2.

    Weights 2 where the first is and 5 where the second is not: (2 ln 4/3 + 5 ln 2) over 7.
    """
    logits = logits_of([math.log(3), 0.0])
    weights = torch.tensor([[1.0, 5.0], [2.0, 1.0]])
    rule = Classify(multi_label=True, threshold=0.5)
    terms = rule.terms(logits, torch.tensor([[True, False]]), weights)
    assert terms.loss_N.item() == pytest.approx(2 * math.log(4 / 3) + 5 * math.log(2))
    assert terms.weight_N.item() == 7.0
    assert terms.said_NC.tolist() == [[True, True]]  # a half is enough
    higher = Classify(multi_label=True, threshold=0.6)
    said = higher.terms(logits, torch.tensor([[True, False]]), weights).said_NC
    assert said.tolist() == [[True, False]]


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(2, 5),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.booleans(),
)
def test_losses_equal_torch(seed, records, classes, smoothing, weighted):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(records, classes, generator=draw, dtype=torch.float64)
    target = torch.randint(classes, (records,), generator=draw)
    weights = torch.rand(2, classes, generator=draw, dtype=torch.float64) + 0.1
    weights = weights if weighted else torch.ones_like(weights)

    rule = Classify(label_smoothing=smoothing)
    terms = rule.terms(logits, functional.one_hot(target, classes).bool(), weights)
    theirs = functional.cross_entropy(logits, target, weights[1], label_smoothing=smoothing)
    assert (terms.loss_N.sum() / terms.weight_N.sum()).item() == pytest.approx(theirs.item())

    labels = torch.rand(records, classes, generator=draw) < 0.5
    terms = Classify(multi_label=True, label_smoothing=smoothing).terms(logits, labels, weights)
    weight = torch.where(labels, weights[1], weights[0])
    soft = torch.where(labels, 1 - smoothing / 2, smoothing / 2).to(torch.float64)
    theirs = functional.binary_cross_entropy(logits.sigmoid(), soft, weight, reduction="sum")
    ours = (terms.loss_N.sum() / terms.weight_N.sum()).item()
    assert ours == pytest.approx((theirs / weight.sum()).item())
    if not weighted and smoothing == 0:
        mean = functional.binary_cross_entropy_with_logits(logits, labels.double())
        assert ours == pytest.approx(mean.item())


def test_balanced_weights_by_hand():
    """4 records, of which 3, 1 and 0 are of the classes: 4/9, 4/3, and 4/3 as though it were one.

    As scikit-learn's compute_class_weight("balanced") for classes that occur; with many classes a
    record, each class against its absence: 4 / (2 * 3) where the first is, 4 / (2 * 1) where not.
    """
    counts = np.array([3, 1, 0])
    weights = Classify(class_weights="balanced").weights(counts, 4)
    np.testing.assert_allclose(weights, [[4 / 9, 4 / 3, 4 / 3]] * 2, rtol=1e-6)
    many = Classify(class_weights="balanced", multi_label=True).weights(counts, 4)
    np.testing.assert_allclose(many, [[2, 2 / 3, 1 / 2], [2 / 3, 2, 2]], rtol=1e-6)
    assert Classify().weights(counts, 4).tolist() == [[1, 1, 1], [1, 1, 1]]


def counts_of(said, true):
    said, true = np.asarray(said, bool), np.asarray(true, bool)
    return (said & true).sum(0), said.sum(0), true.sum(0)


def test_scores_are_those_of_scikit_learn():
    """The examples of its manual, and what it gives for classes that do not occur.

    f1_score([0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1]): macro 0.2667, micro 1/3. By hand: of class 0
    two are found, three said, two true, so 4/5; of 1 and 2 none is found; 0.8 / 3.
    With two more classes, 3 said once in place of a 0 and 4 nowhere: F1 of 3 is 0 and counts, 4 is
    left out (labels=None takes those in truth or prediction): (2 * 1 / (2 + 2) + 0 + 0 + 0) / 4.
    """
    true = np.eye(5)[[0, 1, 2, 0, 1, 2]]
    counts = counts_of(np.eye(5)[[0, 2, 1, 0, 0, 1]], true)
    assert macro_f1(*counts) == pytest.approx(4 / 15)
    assert micro_f1(*counts) == pytest.approx(1 / 3)
    counts = counts_of(np.eye(5)[[0, 2, 1, 3, 0, 1]], true)
    assert macro_f1(*counts) == pytest.approx(0.125)


def test_scores_of_many_classes_are_those_of_scikit_learn():
    """Its manual's multi-label example, F1 (2/3, 1, 2/3); a class that never occurs is left out,

    as with zero_division=nan.
    """
    true = [[0, 0, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0]]
    said = [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]]
    assert macro_f1(*counts_of(said, true)) == pytest.approx(7 / 9)
    assert micro_f1(*counts_of(said, true)) == pytest.approx(0.8)
    nothing = counts_of([[0, 0]], [[0, 0]])
    assert math.isnan(macro_f1(*nothing))
    assert math.isnan(micro_f1(*nothing))


def predictions(logits, labels, channel, channels=2):
    nothing = torch.zeros(0)
    return Predictions(
        hidden_SD=nothing,
        target=nothing,
        weight=nothing,
        channel=nothing,
        branch=nothing,
        channels=channels,
        head=None,
        answers=Answers(
            torch.arange(len(channel)),
            len(channel),
            torch.tensor(channel, dtype=torch.int64),
            *[nothing] * 4,
            readout=torch.as_tensor(logits),
            classes=torch.as_tensor(labels, dtype=torch.bool),
        ),
    )


def test_numbers_per_task_type_by_hand():
    """Channel 0: labels a a b, said a b b. Channel 1: label c, said c.

    F1 of a is 2/3, of b 2/3; c is not of channel 0. In all 2/3, 2/3 and 1: 7/9.
    """
    objective = Classification(Classify()).fitted("abc", np.array([2, 1, 1]), 4)
    said = 5.0 * torch.eye(3)[[0, 1, 1, 2]]
    labels = torch.eye(3)[[0, 0, 1, 2]]
    sums = objective.sums(predictions(said, labels, [0, 0, 0, 1]))
    totals = {name: value.numpy() for name, value in sums.totals.items()}
    by_type = objective.metrics(totals)
    assert by_type["macro_f1"].tolist() == pytest.approx([2 / 3, 1.0])
    assert by_type["accuracy"].tolist() == pytest.approx([2 / 3, 1.0])
    overall = objective.metrics({name: value.sum(0) for name, value in totals.items()})
    assert overall["macro_f1"] == pytest.approx(7 / 9)
    assert overall["accuracy"] == 0.75
    right, wrong = math.log(1 + 2 * math.exp(-5)), math.log(2 + math.exp(5))
    assert by_type["loss"].tolist() == pytest.approx([(2 * right + wrong) / 3, right])
    assert totals["tokens"].tolist() == [3, 1]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 20), st.booleans(), st.data())
def test_how_the_work_is_cut_changes_nothing(seed, records, multi_label, data):
    """Macro F1 of summed counts is that of the whole; the mean over parts would be another."""
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(draw.normal(size=(records, 4)))
    labels = np.eye(4)[draw.integers(0, 4, records)]
    if multi_label:
        labels = draw.random((records, 4)) < 0.4
    rule = Classify(multi_label=multi_label, class_weights="balanced")
    counts = labels.sum(0).astype(np.int64)
    objective = Classification(rule).fitted("abcd", counts, records)
    channel = draw.integers(0, 2, records).tolist()
    cut = data.draw(st.integers(0, records))

    def totals(start, stop):
        part = predictions(logits[start:stop], labels[start:stop], channel[start:stop])
        sums = objective.sums(part)
        return sums.loss.item(), {name: value.numpy() for name, value in sums.totals.items()}

    loss, whole = totals(0, records)
    (first_loss, first), (second_loss, second) = totals(0, cut), totals(cut, records)
    assert first_loss + second_loss == pytest.approx(loss)
    joined = objective.metrics({name: first[name] + second[name] for name in whole})
    for name, values in objective.metrics(whole).items():
        np.testing.assert_allclose(joined[name], values, rtol=1e-9, err_msg=name)
    branches = [
        Branch(
            np.zeros(1, np.int32),
            np.zeros(1, np.float32),
            row,
            0,
            0,
            1,
            classes=tuple(np.flatnonzero(labels[row]).tolist()),
        )
        for row in range(records)
    ]
    assert objective.divisor(branches) == pytest.approx(whole["weight"].sum(), rel=1e-6)


def texts(rng, records, multi_label=False):
    """Texts that begin alike; one is the beginning of another, and two are the same."""
    start = rng.integers(0, VOCABULARY, 9)
    rows = [np.concatenate([start, rng.integers(0, VOCABULARY, n + 1)]) for n in range(records)]
    rows += [start, rows[0]]
    found = []
    for number, ids in enumerate(rows):
        classes = (number % 3,) if not multi_label else tuple(range(number % 4))
        branch = Branch(
            ids.astype(np.int32),
            np.zeros(len(ids), np.float32),
            number,
            0,
            number % 2,
            len(ids),
            classes=classes,
        )
        found.append(branch)
    return found


def scored(scoring, branches, packs):
    scoring.zero_grad()
    loss, totals = 0.0, {}
    for pack in packs:
        sums = scoring(pack, branches)
        sums.loss.backward()
        loss += sums.loss.item()
        for key, value in sums.totals.items():
            totals[key] = totals.get(key, 0) + value.numpy()
    gradients = {n: p.grad.clone() for n, p in scoring.named_parameters() if p.grad is not None}
    return loss / scoring.objective.divisor(branches), gradients, scoring.objective.metrics(totals)


@pytest.mark.parametrize("multi_label", [False, True])
def test_forest_equals_rows_and_plain_torch(multi_label):
    model = tiny()
    assert use_forest_attention(model) is None
    rule = Classify(multi_label=multi_label, class_weights="balanced", label_smoothing=0.1)
    objective = Classification(rule).fitted("abc", np.array([4, 2, 1]), 7)
    torch.manual_seed(1)
    head = Readout(ReadoutInfo("classes", 32, tuple("abc"))).double()
    scoring = ScoringModel(model, objective, 2, head)
    branches = texts(np.random.default_rng(0), 5, multi_label)
    with ordinary_attention(model):
        loss, gradients, metrics = scored(scoring, branches, build_rows(branches, 1))
        logits = []
        for branch in branches:
            ids = torch.from_numpy(branch.input_ids.astype(np.int64))[None]
            states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            logits.append(head(states[0, -1]))
    labels = torch.zeros(len(branches), 3, dtype=torch.bool)
    for row, branch in enumerate(branches):
        labels[row, list(branch.classes)] = True
    terms = rule.terms(torch.stack(logits), labels, torch.from_numpy(objective.weights_2C))
    assert loss == pytest.approx((terms.loss_N.sum() / terms.weight_N.sum()).item(), rel=1e-6)
    scale = max(gradient.abs().max().item() for gradient in gradients.values())
    for pack_tokens in (1, 20, 10_000):
        packs = build_packs(branches, pack_tokens)
        ours, their_gradients, their_metrics = scored(scoring, branches, packs)
        assert ours == pytest.approx(loss, rel=1e-9)
        assert their_gradients.keys() == gradients.keys()
        for name, gradient in gradients.items():
            difference = (their_gradients[name] - gradient).abs().max().item()
            assert difference <= 1e-9 * scale, name
        for name, values in metrics.items():
            np.testing.assert_allclose(their_metrics[name], values, rtol=1e-9, err_msg=name)
    assert sum(pack.tokens for pack in build_packs(branches, 10_000)) == 9 + 1 + 2 + 3 + 4 + 5


def test_micro_f1_has_words():
    assert metric("micro_f1", "classify").meaning.endswith(".")


def test_a_record_of_two_classes_is_refused():
    with pytest.raises(ValueError, match="exactly one class"):
        Classify().terms(logits_of([0.0] * 3), torch.tensor([[True, True, False]]), ONES)
    with pytest.raises(ValueError, match=r"\(1, 3\), \(1, 2\)"):
        Classify().terms(logits_of([0.0] * 3), torch.tensor([[True, False]]), ONES)


def test_without_a_head_nothing_is_scored():
    objective = Classification(Classify()).fitted("ab", np.array([1, 1]), 2)
    found = predictions(torch.zeros(1, 2), [[True, False]], [0])
    object.__setattr__(found.answers, "readout", None)
    with pytest.raises(ValueError, match="needs a readout head"):
        objective.sums(found)


def test_a_model_without_output_layer_scores_no_tokens():
    found = predictions(torch.zeros(1, 2), [[True, False]], [0])
    with pytest.raises(ValueError, match="no output layer"):
        found.logprobs()


@pytest.mark.parametrize(
    ("settings_of", "says"),
    [
        ({"threshold": 1.0}, "objective.threshold: is 1.0; it must be above 0 and below 1"),
        ({"label_smoothing": 1.0}, "objective.label_smoothing"),
        ({"class_weights": "balance"}, "Did you mean 'balanced'"),
        ({"pooling": "avg"}, "objective.pooling"),
        ({"label_separator": ""}, "objective.label_separator: is empty"),
        ({"classes": ("a",)}, "at least two"),
        ({"classes": ("a", "a")}, "'a' is named twice"),
        ({"classes": ("a", " b")}, "without spaces around"),
    ],
)
def test_settings_out_of_their_limits(settings_of, says):
    with pytest.raises(RecipeError, match=says):
        Classify(**settings_of)
