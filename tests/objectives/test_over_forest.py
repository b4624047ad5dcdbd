"""Objectives over answers: the forest against separate rows, and against plain torch."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from danlu.config.recipe import ObjectiveSection
from danlu.models.forest_support import ordinary_attention, use_forest_attention
from danlu.models.readout import Readout, ReadoutInfo
from danlu.objectives import build_objective
from danlu.sequences.branch import Branch, Verdict
from danlu.sequences.forest import build_packs, build_rows
from danlu.training.scoring import ScoringModel
from tests.models.test_forest_equality import VOCABULARY, tiny

NAMES = ("dpo", "orpo", "simpo", "cpo", "reward", "kto")


def answers(rng, records, counts, prompt_tokens=12):
    """Records with ``counts`` answers each, of which the first is the best."""
    found = []
    for record in range(records):
        prompt = rng.integers(0, VOCABULARY, prompt_tokens + record)
        for rank in range(1, counts[record] + 1):
            ids = np.concatenate([prompt, rng.integers(0, VOCABULARY, rng.integers(1, 8))])
            weights = np.zeros(len(ids), np.float32)
            weights[len(prompt) :] = 1.0
            verdict = Verdict(rank, float(9 - rank), 1 if rank == 1 else -1)
            found.append(
                Branch(
                    ids.astype(np.int32),
                    weights,
                    record,
                    rank - 1,
                    record % 2,
                    len(prompt),
                    verdict,
                    float(-rng.uniform(5, 30)),
                )
            )
    return found


def scoring_model(name, **given):
    model = tiny()
    assert use_forest_attention(model) is None
    objective = build_objective(ObjectiveSection(name=name, **given))
    readout = None
    if objective.readout:
        torch.manual_seed(1)
        readout = Readout(ReadoutInfo("reward", 32, ("reward",))).double()
    return ScoringModel(model, objective, 2, readout)


def result(scoring, branches, packs):
    """Loss, gradients and metrics of a step."""
    scoring.zero_grad()
    loss, totals = 0.0, {}
    baseline = torch.tensor(0.3) if scoring.objective.needs_baseline else None
    for pack in packs:
        sums = scoring(pack, branches, baseline)
        sums.loss.backward()
        loss += sums.loss.item()
        for key, value in sums.totals.items():
            totals[key] = totals.get(key, 0) + value.numpy()
    gradients = {n: p.grad.clone() for n, p in scoring.named_parameters() if p.grad is not None}
    return loss / scoring.objective.divisor(branches), gradients, scoring.objective.metrics(totals)


def assert_same(found, expected, tolerance=1e-9):
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert found[1].keys() == expected[1].keys()
    scale = max(gradient.abs().max().item() for gradient in expected[1].values())
    assert scale > 0
    for name, gradient in expected[1].items():
        assert (found[1][name] - gradient).abs().max().item() <= tolerance * scale, name
    for name, values in expected[2].items():
        np.testing.assert_allclose(found[2][name], values, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(2, 4), min_size=1, max_size=4))
def test_forest_equals_separate_rows(name, seed, counts):
    scoring = scoring_model(name)
    branches = answers(np.random.default_rng(seed), len(counts), counts)
    with ordinary_attention(scoring.model):
        rows = result(scoring, branches, build_rows(branches, 1, whole_records=True))
    for pack_tokens in (1, 40, 10_000):
        packs = build_packs(branches, pack_tokens, whole_records=True)
        assert_same(result(scoring, branches, packs), rows)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_that_a_mix_repeats_within_a_step_counts_as_two(name):
    """Its copies' answers are no list of twice the length, with equal answers in it."""
    scoring = scoring_model(name)
    branches = answers(np.random.default_rng(2), 2, [3, 2])
    again = [dataclasses.replace(one, copy=1) for one in branches if one.record == 0]
    other = [dataclasses.replace(one, record=2) for one in branches if one.record == 0]
    found, expected = (
        result(scoring, step, build_packs(step, 10_000, whole_records=True))
        for step in ([*branches, *again], [*branches, *other])
    )
    assert_same(found, expected)
    alone = result(scoring, branches, build_packs(branches, 10_000, whole_records=True))
    assert abs(found[0] - alone[0]) > 1e-6


def test_whole_records_stay_in_one_pack_and_share_their_prompt():
    branches = answers(np.random.default_rng(0), 4, [2, 3, 4, 2], prompt_tokens=20)
    packs = build_packs(branches, 30, whole_records=True)
    places = [{branches[index].record for index in pack.members} for pack in packs]
    assert len(packs) == 4
    assert all(len(records) == 1 for records in places)
    plain = sum(len(branch.input_ids) for branch in branches)
    assert sum(pack.tokens for pack in packs) < plain - 20 * 7 + 20
    for pack in packs:
        ends = [branches[index].input_ids[-1] for index in pack.members]
        assert pack.input_ids[pack.last].tolist() == ends


def test_dpo_is_the_textbooks():
    """Against transformers' logits and torch's own functions, one answer at a time."""
    scoring = scoring_model("dpo", beta=0.3, label_smoothing=0.1)
    branches = answers(np.random.default_rng(3), 3, [2, 2, 2])
    logprobs = []
    with ordinary_attention(scoring.model):
        for branch in branches:
            ids = torch.from_numpy(branch.input_ids.astype(np.int64))[None]
            logits = scoring.model(input_ids=ids, use_cache=False).logits[0, :-1]
            nll = functional.cross_entropy(logits, ids[0, 1:], reduction="none")
            logprobs.append(-nll[branch.prompt_tokens - 1 :].sum().item())
    losses, margins = [], []
    for better, worse in ((0, 1), (2, 3), (4, 5)):
        gap = logprobs[better] - np.float32(branches[better].reference).item()
        gap -= logprobs[worse] - np.float32(branches[worse].reference).item()
        as_labelled, flipped = (math.log1p(math.exp(-sign * 0.3 * gap)) for sign in (1, -1))
        losses.append(0.9 * as_labelled + 0.1 * flipped)
        margins.append(0.3 * gap)
    found, _, metrics = result(scoring, branches, build_packs(branches, 10_000, whole_records=True))
    assert found == pytest.approx(sum(losses) / 3, rel=1e-9)
    assert metrics["margin"].tolist() == pytest.approx([(margins[0] + margins[2]) / 2, margins[1]])
    told_apart = [margin > 0 for margin in margins]
    assert metrics["accuracy"][1] == float(told_apart[1])


def test_a_list_counts_as_much_as_a_pair():
    """Of a list of three all three pairs are compared, each with a third of the record's weight."""
    scoring = scoring_model("simpo")
    branches = answers(np.random.default_rng(5), 1, [3])
    whole, _, _ = result(scoring, branches, build_packs(branches, 10_000, whole_records=True))
    parts = []
    for better, worse in ((0, 1), (0, 2), (1, 2)):
        pair = [branches[better], branches[worse]]
        parts.append(result(scoring, pair, build_packs(pair, 10_000, whole_records=True))[0])
    assert whole == pytest.approx(sum(parts) / 3, rel=1e-9)


def test_answers_of_one_rank_are_not_compared():
    scoring = scoring_model("dpo")
    branches = answers(np.random.default_rng(5), 1, [3])
    tied = [
        dataclasses.replace(branch, verdict=Verdict(rank=min(branch.verdict.rank, 2)))
        for branch in branches
    ]
    found, _, _ = result(scoring, tied, build_packs(tied, 10_000, whole_records=True))
    parts = []
    for worse in (1, 2):
        pair = [tied[0], tied[worse]]
        parts.append(result(scoring, pair, build_packs(pair, 10_000, whole_records=True))[0])
    assert found == pytest.approx(sum(parts) / 2, rel=1e-9)


def test_reward_is_plackett_luce_over_last_tokens():
    scoring = scoring_model("reward")
    branches = answers(np.random.default_rng(7), 2, [3, 2])
    scores = []
    with ordinary_attention(scoring.model):
        for branch in branches:
            ids = torch.from_numpy(branch.input_ids.astype(np.int64))[None]
            states = scoring.model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            scores.append(scoring.readout(states[0, -1]).item())
    a, b, c, d, e = scores
    choices = [
        math.log(math.exp(a) + math.exp(b) + math.exp(c)) - a,
        math.log(math.exp(b) + math.exp(c)) - b,
        math.log(math.exp(d) + math.exp(e)) - d,
    ]
    packs = build_packs(branches, 10_000, whole_records=True)
    found, _, metrics = result(scoring, branches, packs)
    assert found == pytest.approx(sum(choices) / 3, rel=1e-6)
    assert metrics["accuracy"][0] == pytest.approx(((a > b) + (a > c) + (b > c)) / 3)
    assert metrics["score"][1] == pytest.approx((d + e) / 2, rel=1e-5)


def test_margins_ask_for_the_scores_difference():
    scoring = scoring_model("reward", margin_weight=0.5)
    branches = answers(np.random.default_rng(7), 1, [2])
    packs = build_packs(branches, 10_000, whole_records=True)
    found, _, metrics = result(scoring, branches, packs)
    gap = metrics["margin"][0] - 0.5 * 1.0  # the data's scores are 8 and 7
    assert found == pytest.approx(math.log1p(math.exp(-gap)), rel=1e-6)


def test_kto_by_hand():
    scoring = scoring_model("kto", undesirable_weight=2.0)
    branches = answers(np.random.default_rng(9), 2, [2, 2])
    packs = build_packs(branches, 10_000)
    found, _, metrics = result(scoring, branches, packs)
    with torch.no_grad():
        logprobs = scoring.answer_logprobs(packs[0], branches)
    expected = 0.0
    for place, index in enumerate(packs[0].members):
        branch = branches[index]
        ratio = logprobs[place].item() - np.float32(branch.reference).item()
        gain = ratio - 0.3 if branch.verdict.label == 1 else 0.3 - ratio
        weight = 1.0 if branch.verdict.label == 1 else 2.0
        expected += weight * (1 - 1 / (1 + math.exp(-0.1 * gain)))
    assert found == pytest.approx(expected / 4, rel=1e-6)
    assert metrics["kl_baseline"].tolist() == pytest.approx([0.3, 0.3])
