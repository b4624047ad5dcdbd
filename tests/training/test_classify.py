"""Classification end to end on tiny models: decoders with and without a template, and encoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from danlu.config.recipe import DevicesSection
from danlu.errors import ModelError, RecipeError, RecordError
from danlu.models.readout import Readout
from danlu.objectives.classification import Classification
from danlu.objectives.classify import Classify
from danlu.runs import RunDirectory
from danlu.serving.classify import load_classifier
from danlu.training.estimate import dry_run
from danlu.training.labelled import make_readout
from danlu.training.run import train
from tests.processes import train_apart
from tests.tiny_encoder import save_tiny_bert
from tests.training.conftest import WORDS
from tests.training.test_run import assert_same_weights, losses

HOT = {"furnace", "iron", "fire", "red", "hot", "metal"}


def label_of(word: str) -> str:
    return "hot" if word in HOT else "cold"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), "utf-8")
    return str(path)


def write_classes(path: Path) -> str:
    """Twenty-four texts in three shapes; the class is whether their one word is hot."""
    rows: list[dict[str, Any]] = []
    for number, word in enumerate(WORDS * 2):
        task_type = ("heat/word", "heat/question")[number % 2]
        text = f"the {word}" if number < len(WORDS) else f"is the {word} red?"
        row: dict[str, Any] = {"id": f"r{number}", "task_type": task_type}
        if number % 3 == 0:
            row |= {"text": text, "label": label_of(word)}
        elif number % 3 == 1:
            row |= {"prompt": text, "completion": f" {label_of(word)}\n"}
        else:
            row |= {"instruction": text, "output": label_of(word)}
        rows.append(row)
    return write_rows(path, rows)


@pytest.fixture
def stage(tiny_recipe, tmp_path):
    """Make a recipe for classify."""

    def make(name: str = "run", **sections: Any) -> Any:
        own: dict[str, Any] = {
            "data": {"train": [write_classes(tmp_path / "classes.jsonl")]},
            "objective": {"name": "classify"},
            "training": {"learning_rate": 3e-3, "epochs": 4},
            "samples": {"from_data": 3},
        }
        for key, values in sections.items():
            own[key] = {**own.get(key, {}), **values}
        return tiny_recipe(name, **own)

    return make


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> str:
    return str(save_tiny_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module")
def plain_decoder(tmp_path_factory, tokenizer_maker) -> str:
    """A decoder whose tokenizer has no chat template."""
    from tests.tiny_models import tiny_llama

    folder = tmp_path_factory.mktemp("plain")
    tiny_llama(seed=3).save_pretrained(folder)
    tokenizer_maker(None).save_pretrained(folder)
    return str(folder)


def rows_of(run: Any, split: str) -> list[Any]:
    return [row for row in RunDirectory.open(run.path).metrics() if row.split == split]


def says(classifier: Any) -> float:
    texts = [f"the {word}" for word in WORDS]
    said = [found.classes[0] for found in classifier.classify_texts(texts)]
    return float(np.mean([one == label_of(word) for one, word in zip(said, WORDS, strict=True)]))


@pytest.mark.parametrize(
    ("kind", "method"),
    [("chat", "lora"), ("plain", "full"), ("encoder", "full"), ("encoder", "lora")],
)
def test_a_run_learns_reports_and_is_used(stage, kind, method, bert, plain_decoder):
    model = {"chat": {}, "plain": {"path": plain_decoder}, "encoder": {"path": bert}}[kind]
    recipe = stage(
        model=model,
        tuning={"method": method},
        data={"eval_share": 0.2},
        evaluation={"keep_best": False},  # words held out are nothing like those learned
        training={
            "epochs": 30,
            "batch_records": 10,
            "learning_rate": 1e-2 if method == "lora" else 3e-3,
        },
    )
    run = train(recipe, progress=False)
    trained, evals = rows_of(run, "train"), rows_of(run, "eval")
    assert evals[0].loss == pytest.approx(np.log(2))  # a head of zeros guesses
    assert np.mean([row.loss for row in trained[-3:]]) < 0.5 * trained[0].loss
    for row in (trained[-1], evals[-1]):
        assert {"accuracy", "macro_f1"} == row.metrics.keys()
    assert set(evals[-1].channels) == {"heat/word", "heat/question"}
    assert evals[-1].channels["heat/word"].metrics.keys() == {"accuracy", "macro_f1"}
    assert sum(row.supervised_tokens for row in trained) == 30 * 20  # a label is one prediction
    page = (run.path / "report.html").read_text("utf-8")
    assert "Macro F1" in page
    assert "danlu classify" in page
    assert run.summary.last_metrics["macro_f1"] > 0.9
    assert not RunDirectory.open(run.path).samples()

    classifier = load_classifier(run.path)
    assert classifier.classes == ("cold", "hot")
    assert says(classifier) > 0.9
    assert classifier.packing.forest == (kind != "encoder")
    assert classifier.head.info.pooling == ("first" if kind == "encoder" else "last")


def test_loaded_again_it_says_what_it_said_in_training(stage, bert):
    """The evaluation loss of the kept weights, from probabilities of the loaded classifier."""
    for model in ({}, {"path": bert}):
        recipe = stage(
            model=model, tuning={"method": "lora"}, data={"eval_share": 0.2}, name="again"
        )
        run = train(recipe, progress=False, overwrite=True)
        best = min(rows_of(run, "eval"), key=lambda row: row.loss)
        classifier = load_classifier(run.path)
        nats = []
        lines = Path(recipe.data.train[0].path).read_text("utf-8").splitlines()
        held_out = _held_out(run.path)
        for line in lines:
            row = json.loads(line)
            if row["id"] in held_out:
                text = row.get("text") or row.get("prompt") or row["instruction"]
                label = (row.get("label") or row.get("completion") or row["output"]).strip()
                nats.append(-np.log(classifier.classify(text).probabilities[label]))
        assert np.mean(nats) == pytest.approx(best.loss, rel=1e-3)


def _held_out(run: Path) -> set[str]:
    from danlu.sequences.prepared import PreparedData

    return set(PreparedData.load(run / "prepared" / "eval").record_ids)


@pytest.mark.parametrize("encoder", [False, True])
def test_layout_changes_nothing(stage, encoder, bert):
    model = {"path": bert} if encoder else {}
    one = train(stage("a", model=model, training={"pack_tokens": 1}), progress=False)
    big = train(stage("b", model=model, training={"pack_tokens": 10_000}), progress=False)
    runs = [big]
    if not encoder:
        runs.append(train(stage("c", model={"attention": "rows"}), progress=False))
    for other in runs:
        assert losses(other.path) == pytest.approx(losses(one.path), rel=2e-4)
        if not encoder:  # Adam magnifies rounding where, as of BERT's key bias, a gradient is 0
            assert_same_weights(one.path, other.path, atol=2e-3)
        ours, theirs = (Readout.load(run.path / "model").linear.weight for run in (one, other))
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


def test_two_processes_change_nothing(stage, bert):
    """One process has no pack of its own in most steps; counts of classes are summed over both.

    Of a decoder's packs each may also compute a part.
    """
    sections = {
        "data": {"eval_share": 0.2},
        "training": {"pack_tokens": 60, "epochs": 1},
    }
    kinds: dict[str, Any] = {
        "two": {"model": {"path": bert}},
        "together": {"devices": {"context_parallel": 2}},
    }
    recipes = [stage(name, **sections, **own) for name, own in kinds.items()]
    train_apart(*recipes, processes=2).finish()
    for recipe in recipes:
        one = recipe.model_copy(update={"name": "alone", "devices": DevicesSection()})
        alone = train(one, overwrite=True, progress=False)
        run = RunDirectory.open(Path(recipe.runs_dir) / recipe.name)
        for row, like in zip(run.metrics(), RunDirectory.open(alone.path).metrics(), strict=True):
            assert row.loss == pytest.approx(like.loss, rel=2e-4)
            assert row.metrics == pytest.approx(like.metrics, rel=2e-4)
            assert row.supervised_tokens == like.supervised_tokens
        assert_same_weights(run.path, alone.path, atol=2e-3)


def test_a_head_of_tokens_that_nothing_reads_stays_as_it_is():
    """Untied, it would get no gradient; tied, it moves with the embedding."""
    from tests.tiny_models import tiny_llama

    objective = Classification(Classify()).fitted("ab", np.array([1, 1]), 2)
    for tied in (False, True):
        model = tiny_llama(tie_word_embeddings=tied)
        assert make_readout(objective, model) is not None
        assert model.get_output_embeddings().weight.requires_grad == tied


def test_stopped_and_resumed_ends_in_the_same_head(stage, monkeypatch):
    sections = {"data": {"eval_share": 0.2}, "objective": {"class_weights": "balanced"}}
    whole = train(stage("whole", **sections), progress=False)
    from danlu.training import run as run_module

    class StopAfter:
        asked = 0

        def __call__(self) -> bool:
            self.asked += 1
            return self.asked == 7

    recipe = stage("stopped", **sections)
    with monkeypatch.context() as patch:
        from contextlib import contextmanager

        @contextmanager
        def stop(_: Any) -> Any:
            yield StopAfter()

        patch.setattr(run_module, "stop_asked", stop)
        assert train(recipe, progress=False).summary is None
    resumed = train(recipe, resume=True, progress=False)
    assert losses(resumed.path) == losses(whole.path)
    heads = [(run.path / "model" / "readout.safetensors").read_bytes() for run in (whole, resumed)]
    assert heads[0] == heads[1]


def test_many_labels_a_text(stage, tmp_path):
    """hot and short are independent; a text may have both, or neither."""
    rows = []
    for number, word in enumerate(WORDS * 2):
        labels = ["hot"] * (word in HOT) + ["short"] * (len(word) < 5)
        text = word if number < len(WORDS) else f"the {word}"
        given: Any = labels if number < len(WORDS) else ", ".join(labels)
        rows.append({"text": text, "labels": given})
    recipe = stage(
        data={"train": [write_rows(tmp_path / "many.jsonl", rows)]},
        objective={"multi_label": True, "threshold": 0.4, "class_weights": "balanced"},
        training={"epochs": 40, "batch_records": 12},
    )
    run = train(recipe, progress=False)
    last = rows_of(run, "train")[-1]
    assert {"accuracy", "macro_f1", "micro_f1"} == last.metrics.keys()
    assert run.summary.last_metrics["micro_f1"] > 0.9
    classifier = load_classifier(run.path)
    assert classifier.head.info.threshold == 0.4
    assert classifier.classify("the fire").classes in (("hot", "short"), ("short", "hot"))
    assert classifier.classify("the earth").classes == ()
    told = classifier.classify("the metal").as_dict()
    assert told["classes"] == ["hot"]
    assert set(told["probabilities"]) == {"hot", "short"}


def test_pairs_are_told_apart(stage, tmp_path, bert):
    """The class is whether both texts say the same word; an encoder sees which text is which."""
    rows = []
    for number, word in enumerate(WORDS):
        other = WORDS[(number + 5) % len(WORDS)]
        rows.append({"text": f"the {word}", "text_pair": word, "label": True})
        rows.append({"text": f"the {word}", "text_pair": other, "label": False})
    recipe = stage(
        data={"train": [write_rows(tmp_path / "pairs.jsonl", rows)]},
        model={"path": bert},
        training={"epochs": 40, "batch_records": 12},
        objective={"pooling": "mean"},
    )
    run = train(recipe, progress=False)
    classifier = load_classifier(run.path)
    assert classifier.classes == ("false", "true")
    assert classifier.head.info.pooling == "mean"
    assert classifier.classify("the iron", "iron").classes == ("true",)
    assert classifier.classify("the iron", WORDS[6]).classes == ("false",)


def test_evaluation_data_may_have_no_other_class(stage, tmp_path):
    rows = [{"id": "odd", "text": "the ice", "label": "colt"}]
    other = write_rows(tmp_path / "eval.jsonl", rows)
    with pytest.raises(RecordError, match=r"record odd: its class 'colt' .* Did you mean 'cold'"):
        train(stage(data={"eval": [other]}), progress=False)


def test_classes_named_in_the_recipe_keep_their_order(stage):
    named = {"classes": ["warm", "hot", "cold"], "class_weights": "balanced"}
    run = train(stage(objective=named), progress=False)
    assert Readout.load(run.path / "model").info.names == ("warm", "hot", "cold")
    with pytest.raises(RecordError, match="its class 'cold' is none of those"):
        train(stage(objective={"classes": ["hot", "warm"]}), overwrite=True, progress=False)


def test_records_without_a_class_are_dropped_and_told(stage, tmp_path):
    rows = [
        {"id": "no", "messages": [{"role": "user", "content": "the fire"}]},
        {"id": "empty", "text": " ", "label": "hot"},
        {"id": "pair", "prompt": "the fire", "chosen": "hot", "rejected": "cold"},
        {"id": "conversation", "messages": [{"role": "user", "content": "ice"}], "label": "cold"},
    ]
    both = [write_classes(tmp_path / "classes.jsonl"), write_rows(tmp_path / "x.jsonl", rows)]
    run = train(stage(data={"train": both}), progress=False)
    dropped = {drop.record_id: drop.reason for drop in RunDirectory.open(run.path).dropped()}
    assert dropped == {"no": "no class", "empty": "nothing to learn", "pair": "no class"}


def test_a_plan_counts_texts(stage):
    plan = dry_run(stage())
    assert plan.records == 24
    assert {row.loss_share for row in plan.task_types} == {0.5}


@pytest.mark.parametrize(
    ("sections", "error", "says_what"),
    [
        ({"objective": {"pooling": "mean"}}, RecipeError, "a decoder's tokens see only those"),
        ({"tuning": {"method": "ia3"}, "model": "bert"}, RecipeError, "ia3 is not for encoders"),
    ],
)
def test_what_does_not_fit_is_refused(stage, bert, sections, error, says_what):
    given = {**sections, **({"model": {"path": bert}} if "model" in sections else {})}
    with pytest.raises(error, match=says_what):
        train(stage(**given), progress=False)


def test_an_encoder_takes_no_template_and_predicts_no_tokens(stage, tiny_recipe, bert, tmp_path):
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}{{ m.content }}[SEP]{% endfor %}")
    model = {"path": bert, "template": str(file)}
    with pytest.raises(RecipeError, match="an encoder reads plain text"):
        train(stage(model=model), progress=False)
    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    model["tokenizer"] = str(tmp_path / "tokenizer")
    with pytest.raises(ModelError, match="BertModel is an encoder and predicts no next token"):
        train(tiny_recipe(model=model), progress=False)


def test_questions_have_no_place_here(stage):
    with pytest.raises(RecipeError, match=r"samples\.prompts: does nothing with objective clas"):
        train(stage(samples={"prompts": ["Hi"]}), progress=False)


def test_settings_of_turns_are_refused(stage):
    with pytest.raises(ValueError, match="learns from a record's classes"):
        stage(sequences={"train_on_prompt": True})


def test_a_chat_run_is_no_classifier(tiny_recipe):
    run = train(tiny_recipe(training={"max_steps": 1}), progress=False)
    with pytest.raises(ModelError, match="reward or classify"):
        load_classifier(run.path)


def test_long_texts_are_dropped_cut_or_refused(stage, bert, tmp_path):
    """The encoder reads 24 tokens, whatever max_length says."""
    long = {"id": "long", "text": "the gold " * 20, "label": "cold"}
    both = [write_classes(tmp_path / "classes.jsonl"), write_rows(tmp_path / "l.jsonl", [long])]
    sections = {"data": {"train": both}, "model": {"path": bert}, "training": {"epochs": 1}}
    run = train(stage("drop", **sections), progress=False)
    [drop] = RunDirectory.open(run.path).dropped()
    assert (drop.record_id, drop.reason, drop.kept) == ("long", "overlong", False)
    cut = stage("cut", **sections, sequences={"overlong": "truncate_prompt_left"})
    [drop] = RunDirectory.open(train(cut, progress=False).path).dropped()
    assert (drop.reason, drop.kept) == ("prompt truncated", True)
    with pytest.raises(RecordError, match="record long: the text has 42 tokens; at most 24"):
        train(stage("error", **sections, sequences={"overlong": "error"}), progress=False)
    with pytest.raises(RecordError, match="at most 24 are read"):
        load_classifier(run.path).classify("the gold " * 20)


def test_a_loaded_encoder_is_the_one_that_was_saved(bert, stage):
    run = train(stage(model={"path": bert}, tuning={"method": "full"}), progress=False)
    classifier = load_classifier(run.path)
    assert type(classifier.model).__name__ == "BertModel"
    assert classifier.model.pooler is None
    assert torch.isfinite(classifier.head.linear.weight).all()
