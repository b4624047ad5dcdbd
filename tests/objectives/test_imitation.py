"""Distillation over the forest: against rows, against plain torch, and within bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from danlu.config.recipe import ObjectiveSection
from danlu.models import chunked
from danlu.models.chunked import summed_loss
from danlu.models.forest_support import ordinary_attention, use_forest_attention
from danlu.models.head import OutputHead
from danlu.objectives import build_objective
from danlu.sequences.branch import Branch, Taught
from danlu.sequences.forest import build_packs, build_rows, empty_pack
from danlu.training.scoring import Packing, ScoringModel
from danlu.training.taught import KeptTeaching
from danlu.training.teacher import RunningTeacher
from tests.models.test_forest_equality import VOCABULARY, tiny
from tests.objectives.test_over_forest import assert_same, result

CPU = torch.device("cpu")


def branches(seed=0, records=5):
    """Branches that share prefixes, of unequal weights."""
    rng = np.random.default_rng(seed)
    stem = rng.integers(0, VOCABULARY, 9)
    found = []
    for record in range(records):
        prompt = stem[: 3 + record % 3 * 3]
        ids = np.concatenate([prompt, rng.integers(0, VOCABULARY, rng.integers(2, 9))])
        weights = np.zeros(len(ids), np.float32)
        weights[len(prompt) :] = rng.choice([0.5, 1.0, 2.0], len(ids) - len(prompt))
        found.append(Branch(ids.astype(np.int32), weights, record, 0, record % 2, len(prompt)))
    return found


def another(rows=VOCABULARY, seed=3):
    """A teacher of the same vocabulary with random weights of its own, drawn wide."""
    torch.manual_seed(seed)
    model = tiny("qwen3")
    model.resize_token_embeddings(rows)
    with torch.no_grad():
        for part in model.parameters():
            part.add_(0.2 * torch.randn_like(part))
    return model.requires_grad_(False)


def running(model, *, forest=True):
    if forest:
        assert use_forest_attention(model) is None
    return RunningTeacher(model, OutputHead.of(model), Packing(50, forest=forest), VOCABULARY)


def student(teacher, **given):
    model = tiny()
    assert use_forest_attention(model) is None
    objective = build_objective(ObjectiveSection(name="distil", **given))
    return ScoringModel(model, objective, 2, teacher=teacher)


def logits_of(model, branch):
    """Logits that predict a branch's trained tokens, by transformers alone."""
    ids = torch.from_numpy(branch.input_ids.astype(np.int64))[None]
    with ordinary_attention(model):
        logits = model(input_ids=ids, use_cache=False).logits[0]
    return logits[np.flatnonzero(branch.weights[1:])]


SETTINGS = [
    {},
    {"top_k": 5, "temperature": 2.0, "nll_weight": 0.0},
    {"divergence": "reverse", "nll_weight": 0.3},
    {"divergence": "reverse", "top_k": 7},
]


@pytest.mark.parametrize("given", SETTINGS)
def test_forest_equals_separate_rows(given):
    scoring = student(running(another()), **given)
    own = branches()
    with ordinary_attention(scoring.model):
        rows = result(scoring, own, build_rows(own, 1))
    for pack_tokens in (1, 20, 10_000):
        assert_same(result(scoring, own, build_packs(own, pack_tokens)), rows)


def test_a_teacher_in_rows_teaches_a_student_in_a_forest():
    own = branches()
    forest = student(running(another()))
    expected = result(forest, own, build_packs(own, 20))
    in_rows = student(running(another(), forest=False))
    assert_same(result(in_rows, own, build_packs(own, 20)), expected)


@pytest.mark.parametrize("chunk_bytes", [1, chunked.CHUNK_BYTES])
@pytest.mark.parametrize("given", SETTINGS)
@pytest.mark.parametrize("plain", [True, False])
def test_equals_plain_torch(given, plain, chunk_bytes, monkeypatch):
    """Loss and gradients against all logits at once and torch's own functions."""
    monkeypatch.setattr(chunked, "CHUNK_BYTES", chunk_bytes)
    teacher = another(rows=VOCABULARY + 3)
    scoring = student(running(teacher), **given)
    if not plain:
        scoring.model.config.final_logit_softcapping = 5.0
    own = branches(records=8)
    found = result(scoring, own, build_packs(own, 10_000))
    distil = scoring.objective.distil
    scoring.zero_grad()
    loss, weight = 0.0, 0.0
    for branch in own:
        logits = logits_of(scoring.model, branch)
        if not plain:
            logits = 5 * torch.tanh(logits / 5)
        says = logits_of(teacher, branch)[:, :VOCABULARY]
        trained = np.flatnonzero(branch.weights)
        target = torch.from_numpy(branch.input_ids[trained].astype(np.int64))
        both = [(one / distil.temperature).log_softmax(-1) for one in (logits, says)]
        if distil.top_k:
            top = both[1].topk(distil.top_k).indices
            both = [
                torch.cat(
                    [one.gather(1, top), (1 - one.exp().gather(1, top).sum(1, keepdim=True)).log()],
                    1,
                )
                for one in both
            ]
        if distil.divergence == "reverse":
            both.reverse()
        kl = functional.kl_div(*both, reduction="none", log_target=True).sum(-1)
        nll = functional.cross_entropy(logits, target, reduction="none")
        share = distil.nll_weight
        weights = torch.from_numpy(branch.weights[trained])
        loss = loss + (weights * ((1 - share) * distil.temperature**2 * kl + share * nll)).sum()
        weight += weights.sum().item()
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in scoring.named_parameters() if p.grad is not None}
    assert_same((*found[:2], {}), ((loss / weight).item(), gradients, {}), 1e-8)


def test_numbers_of_a_task_type_are_means_over_its_own_tokens():
    scoring = student(running(another()), nll_weight=0.25)
    own = branches()
    whole = result(scoring, own, build_packs(own, 20))[2]
    for channel in (0, 1):
        part = [branch for branch in own if branch.channel == channel]
        alone = result(scoring, part, build_packs(part, 20))[2]
        for name in ("loss", "divergence", "nll", "perplexity"):
            assert whole[name][channel] == pytest.approx(alone[name][channel])
    mixed = 0.75 * whole["divergence"] + 0.25 * whole["nll"]
    assert whole["loss"] == pytest.approx(mixed)


def test_what_branches_carry_serves_as_well_as_a_teacher_that_runs():
    teacher, own = running(another()), branches()
    runs = student(teacher, top_k=6)
    distil = runs.objective.distil
    carrying = []
    for branch in own:
        with torch.no_grad():
            top = distil.top_tokens(logits_of(teacher.model, branch))
        taught = Taught(top.ids_CK.numpy().astype(np.int32), top.logprobs_CK1.numpy())
        carrying.append(replace(branch, taught=taught))
    kept = student(KeptTeaching(VOCABULARY, CPU), top_k=6)
    for pack_tokens in (1, 20, 10_000):
        packs = build_packs(own, pack_tokens)
        assert_same(result(kept, carrying, packs), result(runs, own, packs), 1e-8)
    with pytest.raises(ValueError, match="carries nothing of the teacher"):
        kept(packs[0], own)


def test_without_a_teacher_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="needs what a teacher says"):
        student(None)(build_packs(branches(), 20)[0], branches())


@pytest.mark.parametrize("teacher", ["runs", "kept"])
def test_a_process_without_a_share_adds_nothing(teacher):
    teaches = running(another()) if teacher == "runs" else KeptTeaching(VOCABULARY, CPU)
    scoring = student(teaches)
    sums = scoring(empty_pack())
    sums.loss.backward()
    assert sums.loss.item() == 0.0
    assert all(not total.any() for total in sums.totals.values())
    # As other processes do, it has a gradient for all that moves.
    expected = student(running(another()))
    expected(build_packs(branches(), 20)[0], branches()).loss.backward()
    having = [
        {n for n, p in one.named_parameters() if p.grad is not None} for one in (scoring, expected)
    ]
    assert having[0] == having[1]


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that is made in a block."""

    def __init__(self):
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(one, torch.Tensor):
                self.entries = max(self.entries, one.numel())
        return made


@pytest.mark.parametrize("top_k", [None, 4])
def test_no_pack_has_all_its_logits_at_once(top_k, monkeypatch):
    """400 predictions over 2,000 tokens: 32 rows are a chunk, 64,000 entries, of 800,000."""
    monkeypatch.setattr(chunked, "CHUNK_BYTES", 32 * 4 * 2000)
    torch.manual_seed(0)
    heads = [OutputHead(torch.nn.Linear(8, 2000, bias=False)) for _ in range(2)]
    hidden = torch.randn(400, 8, requires_grad=True)
    states, target = torch.randn(400, 8), torch.randint(0, 2000, (400,))
    distil = build_objective(ObjectiveSection(name="distil", top_k=top_k)).distil

    def score(logits, part):
        says = heads[1].frozen_logits(states[part]).detach()
        sums = distil.sums(logits, says, target[part], torch.ones(len(logits)))
        return sums.loss, torch.stack([sums.divergence_C, sums.nll_C])

    with Largest() as largest:
        loss, numbers = summed_loss(heads[0], hidden, score)
        loss.backward()
    assert numbers.shape == (2, 400)
    assert largest.entries == 32 * 2000
    monkeypatch.setattr(chunked, "CHUNK_BYTES", 2**30)
    with Largest() as largest:
        summed_loss(heads[0], hidden, score)
    assert largest.entries == 400 * 2000  # the guard sees what it is there to see
