"""Distillation end to end on tiny models: kept or running teacher, forest or rows, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from danlu.config import load_recipe
from danlu.config.recipe import Recipe
from danlu.errors import RecipeError, RunError
from danlu.models.context import ContextGroup
from danlu.models.head import OutputHead
from danlu.models.load import load_model
from danlu.runs import RunDirectory
from danlu.sequences.branch import Branch
from danlu.training.run import train
from danlu.training.scoring import Packing
from danlu.training.teacher import RunningTeacher
from tests.processes import train_apart
from tests.tiny_models import tiny_llama
from tests.training.test_run import assert_same_weights, losses


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory, tiny_tokenizer) -> Path:
    """A wider and deeper Llama of the same tokenizer, its embedding padded to 384 rows."""
    folder = tmp_path_factory.mktemp("teacher")
    tiny_llama(384, seed=8, hidden_size=48, num_hidden_layers=3).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def distil(tiny_recipe, teacher_folder):
    """Make a recipe that distils."""

    def make(name: str = "run", **sections: Any) -> Recipe:
        own: dict[str, Any] = {
            "objective": {"name": "distil", "teacher": str(teacher_folder), "top_k": 16},
            "data": {"eval_share": 0.2},
        }
        for key, values in sections.items():
            own[key] = {**own.get(key, {}), **values}
        return tiny_recipe(name, **own)

    return make


def test_a_student_comes_nearer_to_its_teacher(distil):
    recipe = distil(training={"epochs": 6}, samples={"from_data": 1, "max_new_tokens": 4})
    run = train(recipe, progress=False)
    rows = list(RunDirectory.open(run.path).metrics())
    assert rows[-1].metrics.keys() == {"divergence", "nll", "perplexity"}
    assert rows[-1].metrics["perplexity"] == pytest.approx(np.exp(rows[-1].metrics["nll"]))
    for row in rows:
        mixed = (row.metrics["divergence"] + row.metrics["nll"]) / 2
        assert row.loss == pytest.approx(mixed, rel=1e-5)
        assert all(one.metrics.keys() == row.metrics.keys() for one in row.channels.values())
    trained = [row for row in rows if row.split == "train"]
    assert trained[-1].metrics["divergence"] < 0.8 * trained[0].metrics["divergence"]
    assert any(row.split == "eval" for row in rows)
    page = (run.path / "report.html").read_text("utf-8")
    assert "Divergence" in page
    assert "Perplexity" in page


def rows_of(run: Path) -> list[Any]:
    return list(RunDirectory.open(run).metrics())


@pytest.mark.parametrize("given", [{}, {"temperature": 2.0, "divergence": "reverse"}])
def test_kept_or_running_the_teacher_says_the_same(distil, given):
    kept = train(distil("kept", objective=given), progress=False)
    assert (kept.path / "prepared" / "train" / "teacher_ids.npy").is_file()
    each = {**given, "teacher_scores": "each_step"}
    runs = train(distil("runs", objective=each), progress=False)
    assert not list(runs.path.rglob("teacher_ids.npy"))
    for split in ("train", "eval"):
        assert losses(runs.path, split) == pytest.approx(losses(kept.path, split), rel=2e-4)
    assert_same_weights(kept.path, runs.path, atol=2e-3)


@pytest.mark.parametrize("scores", ["precomputed", "each_step"])
def test_layout_changes_nothing(distil, scores):
    objective = {"teacher_scores": scores}
    one = train(distil("a", objective=objective, training={"pack_tokens": 1}), progress=False)
    big = distil("b", objective=objective, training={"pack_tokens": 10_000})
    rows = distil("c", objective=objective, model={"attention": "rows"})
    for other in (train(big, progress=False), train(rows, progress=False)):
        assert losses(other.path) == pytest.approx(losses(one.path), rel=2e-4)
        assert_same_weights(one.path, other.path, atol=2e-3)


def test_two_processes_change_nothing(distil):
    """Both ask the teacher about their shares, and add up what it says.

    Together they compute a part of every pack each, and of the teacher's: kept, or at each step.
    """
    sections = {"training": {"epochs": 1}}
    alone = train(distil("alone", **sections), progress=False)
    together = {**sections, "devices": {"context_parallel": 2}}
    recipes = [
        distil("two", **sections),
        distil("kept", **together),
        distil("runs", **together, objective={"teacher_scores": "each_step"}),
    ]
    train_apart(*recipes, processes=2).finish()
    for recipe in recipes:
        run = Path(recipe.runs_dir) / recipe.name
        for split in ("train", "eval"):
            assert losses(run, split) == pytest.approx(losses(alone.path, split), rel=2e-4)
        counted = [[row.supervised_tokens for row in rows_of(path)] for path in (run, alone.path)]
        assert counted[0] == counted[1]
        assert_same_weights(run, alone.path, atol=2e-3)


def test_a_teacher_in_rows_tells_each_process_its_own_predictions(teacher_folder):
    """Its student's forest is computed by two processes; it computes the whole in each of them."""
    model = load_model(str(teacher_folder))
    teacher = RunningTeacher(model, OutputHead.of(model), Packing(64, forest=False), 360)
    rng = np.random.default_rng(0)
    branches = [
        Branch(
            rng.integers(5, 300, tokens).astype(np.int32), np.ones(tokens, np.float32), r, 0, 0, 1
        )
        for r, tokens in enumerate((7, 4, 9))
    ]
    [pack] = Packing(64).packs(branches)
    whole, _ = teacher.of(pack, branches).said
    for rank in (0, 1):
        context = ContextGroup(None, size=2, rank=rank)
        own = context.local(pack.predictor, pack.tokens) >= 0
        assert 0 < own.sum() < len(own)
        part, _ = teacher.of(pack, branches, context).said
        assert torch.equal(part, whole[own])


def test_documents_are_distilled_too(distil, tmp_path):
    (tmp_path / "book.txt").write_text("The furnace is hot. " * 40, "utf-8")
    recipe = distil(
        data={"train": [str(tmp_path / "book.txt")], "eval_share": 0},
        sequences={"documents": True, "max_length": 32},
    )
    run = train(recipe, progress=False)
    last = run.summary.last_metrics
    assert last["perplexity"] == pytest.approx(np.exp(last["nll"]))


def test_a_run_that_goes_on_asks_the_teacher_no_more(distil, teacher_folder, monkeypatch):
    recipe = distil(training={"max_steps": 2})
    train(recipe, progress=False)
    status = Path(recipe.runs_dir) / "run" / "status.json"
    unfinished = json.dumps(json.loads(status.read_text()) | {"state": "interrupted"})
    status.write_text(unfinished)
    asked = []
    monkeypatch.setattr("danlu.training.teacher.load_model", lambda *a, **_: asked.append(a))
    train(recipe, resume=True, progress=False)
    assert not asked
    kept = Path(recipe.runs_dir) / "run" / "prepared" / "eval" / "teacher.json"
    status.write_text(unfinished)
    key = json.loads(kept.read_text())
    kept.write_text(json.dumps(key | {"fingerprint": "0" * 32}))
    with pytest.raises(RunError, match=r"other weights or for other data.*--overwrite"):
        train(recipe, resume=True, progress=False)


def test_padding_is_left_out_and_told(distil, capsys):
    train(distil(training={"max_steps": 1}), progress=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "student and teacher have the same 360 tokens, in 360 and 384 rows" in told
    assert "16 likeliest tokens at" in told


def test_what_is_kept_are_the_teachers_probabilities(distil, teacher_folder):
    """Of the first branch, against transformers' own logits, cut to the tokenizer's 360 tokens."""
    from danlu.sequences.prepared import PreparedData

    recipe = distil(objective={"temperature": 2.0}, training={"max_steps": 1})
    folder = train(recipe, progress=False).path / "prepared" / "train"
    branch = PreparedData.load(folder).branch(0)
    ids, logprobs = (np.load(folder / f"teacher_{name}.npy") for name in ("ids", "logprobs"))
    trained = np.flatnonzero(branch.weights)
    model = load_model(teacher_folder)
    with torch.no_grad():
        logits = model(torch.from_numpy(branch.input_ids.astype(np.int64))[None]).logits[0]
    expected = (logits[trained - 1, :360] / 2).softmax(-1)
    found = torch.from_numpy(logprobs[: len(trained)]).exp()
    places = torch.from_numpy(ids[: len(trained)]).long()
    torch.testing.assert_close(found[:, :-1], expected.gather(1, places), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.sum(1), torch.ones(len(trained)))
    assert (found[:, :-1] >= expected.topk(16).values[:, -1:] * 0.999).all()


def test_another_vocabulary_is_refused(distil, tmp_path, tokenizer_maker):
    from tokenizers import AddedToken

    folder = tmp_path / "other"
    other = tokenizer_maker()
    other.add_tokens([AddedToken("<炉>", special=True)])
    tiny_llama(384, seed=8).save_pretrained(folder)
    other.save_pretrained(folder)
    with pytest.raises(RecipeError) as caught:
        train(distil(objective={"teacher": str(folder)}), progress=False)
    text = str(caught.value)
    assert f"{folder}: 361 tokens" in text
    assert "360 tokens" in text
    assert "id 360 is '<炉>' there and no token here" in text
    with pytest.raises(RecipeError, match=r"new_tokens is not known to the teacher"):
        train(distil(model={"new_tokens": ["<丹>"]}), progress=False)


def test_a_teacher_must_be_named_and_whole(distil, tmp_path, tiny_tokenizer):
    recipe = distil(objective={"teacher": None})
    with pytest.raises(RecipeError, match=r"objective\.teacher: objective distil needs a model"):
        train(recipe, progress=False)
    folder = tmp_path / "short"
    tiny_llama(300, seed=8).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    with pytest.raises(RecipeError, match=r"rows for 300 tokens, and its tokenizer 360"):
        train(distil(objective={"teacher": str(folder)}), progress=False)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"name": "nll", "teacher": "x"}, "teacher does nothing with objective nll"),
        ({"name": "distil", "beta": 1.0}, "beta does nothing with objective distil"),
        ({"name": "distil", "teacher_scores": "precomputed"}, "set top_k"),
    ],
)
def test_settings_that_do_nothing_are_refused(objective, message):
    with pytest.raises(ValueError, match=message):
        Recipe(name="x", objective=objective)


def test_where_the_teacher_runs_follows_from_top_k():
    def keeps(**settings: Any) -> bool:
        return Recipe(name="x", objective={"name": "distil", **settings}).objective.keeps_teacher

    assert keeps(top_k=8)
    assert not keeps()
    assert not keeps(top_k=8, teacher_scores="each_step")
    assert load_recipe("distil").objective.keeps_teacher


def test_a_dry_run_counts_the_teacher(distil, tiny_folder):
    from danlu.training.estimate import _teacher_work

    recipe = distil(objective={"teacher": str(tiny_folder)}, training={"epochs": 4})
    each = distil(objective={"teacher": str(tiny_folder), "teacher_scores": "each_step"})
    from danlu.models.load import load_tokenizer

    tokenizer = load_tokenizer(str(tiny_folder))
    # Two layers of 2*32*8*(4+2) and 3*32*48 weights, and a head of 32*360; 2 operations for each.
    once = 2 * (2 * (2 * 32 * 8 * 6 + 3 * 32 * 48) * 100 + 32 * 360 * 10)
    assert _teacher_work(each, tokenizer, 100, 10, 12) == 12 * once
    assert _teacher_work(recipe, tokenizer, 100, 10, 12) == 3 * once
