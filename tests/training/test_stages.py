"""Every stage end to end on a tiny model: reward, preference, judged answers, documents."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.errors import RecordError, TemplateError, TrainingError
from danlu.models.load import load_model, load_tokenizer
from danlu.runs import RunDirectory
from danlu.training.run import train
from tests.processes import train_apart
from tests.training.conftest import WORDS
from tests.training.test_run import assert_same_weights, losses, wait_for_lines

PREFERENCES = ("dpo", "kto", "orpo", "simpo", "cpo")
OBJECTIVES = ("reward", *PREFERENCES)


def write_answers(path: Path, records: int = 14) -> Path:
    """Two or three answers each; the best repeats the question's last word."""
    rows = []
    for i in range(records):
        word, other, third = (WORDS[(i * k + k) % len(WORDS)] for k in (1, 5, 7))
        answers = [f"{word} {word}", f"{other} red 炉", f"{third} hot iron fire"][: 2 + i % 2]
        rows.append(
            {
                "id": f"r{i}",
                "task_type": ("say/short", "say/long")[i % 2],
                "messages": [{"role": "user", "content": f"Say {word}"}],
                "responses": [
                    {"content": answer, "rank": rank + 1, "score": 3.0 - rank}
                    for rank, answer in enumerate(answers)
                ],
            }
        )
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def stage(tiny_recipe, tmp_path):
    """Make a recipe for an objective over answers."""

    def make(kind: str, name: str = "run", **sections: Any) -> Any:
        own = {
            "data": {"train": [str(write_answers(tmp_path / "answers.jsonl"))]},
            "objective": {"name": kind},
            "training": {"learning_rate": 3e-3},
        }
        for key, values in sections.items():
            own[key] = {**own.get(key, {}), **values}
        return tiny_recipe(name, **own)

    return make


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_reports_what_its_objective_says(stage, objective):
    recipe = stage(
        objective,
        data={"eval_share": 0.2},
        training={"epochs": 6},
        samples={"from_data": 1, "max_new_tokens": 4},
    )
    run = train(recipe, progress=False)
    rows = list(RunDirectory.open(run.path).metrics())
    names = {"margin", "accuracy"} if objective != "kto" else {"margin", "kl_baseline"}
    assert names <= rows[-1].metrics.keys()
    assert set(rows[-1].channels) <= {"say/short", "say/long"}
    for channel in rows[-1].channels.values():
        assert names - {"margin"} <= channel.metrics.keys()
    trained = [row for row in rows if row.split == "train"]
    assert np.mean([row.loss for row in trained[-3:]]) < np.mean([row.loss for row in trained[:3]])
    assert trained[-1].metrics["margin"] > trained[0].metrics["margin"]
    assert any(row.split == "eval" for row in rows)
    assert (run.path / "report.html").stat().st_size > 10_000
    has_readout = (run.path / "model" / "readout.safetensors").is_file()
    assert has_readout == (objective == "reward")
    scores = list(RunDirectory.open(run.path).scores())
    assert bool(scores) == (objective == "reward")
    if scores:
        evals = [row for row in rows if row.split == "eval"]
        best = min(evals, key=lambda row: row.loss)  # whose weights are kept
        mean = np.mean([row.score for row in scores])
        assert mean == pytest.approx(best.metrics["score"], abs=1e-4)


@pytest.mark.parametrize("objective", ["dpo", "reward", "kto"])
def test_layout_changes_nothing(stage, objective):
    one = train(stage(objective, "a", training={"pack_tokens": 1}), progress=False)
    big = train(stage(objective, "b", training={"pack_tokens": 10_000}), progress=False)
    rows = train(stage(objective, "c", model={"attention": "rows"}), progress=False)
    for other in (big, rows):
        assert losses(other.path) == pytest.approx(losses(one.path), rel=2e-4)
        assert_same_weights(one.path, other.path, atol=2e-3)


@pytest.mark.parametrize("objective", ["kto", "reward"])
def test_two_processes_change_nothing(stage, objective):
    """kto has references and a baseline, reward a readout of its own.

    14 records in steps of 4: the last step is incomplete, and shares are unequal.
    """
    sections = {"data": {"eval_share": 0.2}, "training": {"pack_tokens": 40, "epochs": 1}}
    alone = train(stage(objective, "alone", **sections), progress=False)
    recipe = stage(objective, "two", **sections)
    train_apart(recipe, processes=2).finish()
    two = Path(recipe.runs_dir) / "two"
    assert losses(two) == pytest.approx(losses(alone.path), rel=2e-4)
    assert losses(two, "eval") == pytest.approx(losses(alone.path, "eval"), rel=2e-4)
    assert_same_weights(two, alone.path, atol=2e-3)


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_both_ways_to_the_reference_agree(stage, objective):
    tuning = {"tuning": {"method": "lora"}, "data": {"eval_share": 0.2}}
    once = train(stage(objective, "once", **tuning), progress=False)
    again = stage(objective, "again", **tuning, objective={"reference": "adapter_off"})
    each = train(again, progress=False)
    assert losses(each.path) == pytest.approx(losses(once.path), rel=2e-4)
    assert losses(each.path, "eval") == pytest.approx(losses(once.path, "eval"), rel=2e-4)
    assert_same_weights(once.path, each.path, atol=2e-3)


def test_the_first_loss_is_that_of_a_policy_at_its_reference(stage):
    run = train(stage("dpo"), progress=False)
    assert losses(run.path)[0] == pytest.approx(np.log(2), rel=1e-4)


def test_without_an_adapter_none_can_be_switched_off(stage):
    recipe = stage("dpo", objective={"reference": "adapter_off"})
    with pytest.raises(TrainingError, match="no adapter to switch off"):
        train(recipe, progress=False)


@pytest.mark.parametrize("objective", ["reward"])
def test_killed_and_resumed_ends_in_the_same_weights(stage, objective):
    sections = {
        "tuning": {"method": "lora"},
        "data": {"eval_share": 0.2},
        "training": {"epochs": 30},
        "checkpoints": {"every_steps": 3},
    }
    train_apart(stage(objective, "whole", **sections)).finish()
    recipe = stage(objective, "killed", **sections)
    run = Path(recipe.runs_dir) / "killed"
    for kills, lines in enumerate((1, 20)):
        process = train_apart(recipe, resume=kills > 0)
        wait_for_lines(run / "metrics.jsonl", lines, process)
        process.kill()
        assert process.wait() == [-signal.SIGKILL]
    train_apart(recipe, resume=True).finish()
    whole = Path(recipe.runs_dir) / "whole"
    assert_same_weights(whole, run)
    assert losses(run) == losses(whole)
    if objective == "reward":
        heads = [(path / "adapter" / "readout.safetensors").read_bytes() for path in (run, whole)]
        assert heads[0] == heads[1]


def test_turns_are_dropped_where_answers_are_asked_for(stage, tmp_path):
    from tests.training.conftest import write_data

    both = [str(write_answers(tmp_path / "answers.jsonl")), str(write_data(tmp_path / "t.jsonl"))]
    run = train(stage("dpo", data={"train": both}), progress=False)
    dropped = RunDirectory.open(run.path).dropped()
    assert len(dropped) == 14
    assert {drop.reason for drop in dropped} == {"nothing to learn"}
    assert "no responses" in dropped[0].detail


def test_only_one_prompt_is_no_ground_for_a_baseline(stage, tmp_path):
    rows = [{"prompt": "Hi", "completion": f"Hello {i}", "label": i % 2 == 0} for i in range(6)]
    file = tmp_path / "same.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TrainingError, match="all records have the same prompt"):
        train(stage("kto", data={"train": [str(file)]}), progress=False)


def test_settings_of_turns_are_refused(stage):
    with pytest.raises(ValueError, match=r"sequences\.weighting does nothing with objective dpo"):
        stage("dpo", sequences={"weighting": "record"})


def test_documents_are_learned_whole(tiny_recipe, tmp_path):
    text = "炉 iron fire " * 60
    (tmp_path / "book.txt").write_text(text, "utf-8")
    rows = [{"text": f"{word} is hot. " * 5, "task_type": "wiki/page"} for word in WORDS]
    (tmp_path / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tiny_recipe(
        "domain",
        data={"train": [str(tmp_path / "book.txt"), str(tmp_path / "pages.jsonl")]},
        sequences={"documents": True, "max_length": 32},
        training={"epochs": 3},
    )
    run = train(recipe, progress=False)
    directory = RunDirectory.open(run.path)
    assert not directory.dropped()
    train_rows = [row for row in directory.metrics() if row.split == "train"]
    assert train_rows[-1].loss < train_rows[0].loss
    assert set(train_rows[0].channels) | set(train_rows[1].channels) == {
        "unlabelled/book",
        "wiki/page",
    }


def test_documents_are_refused_in_supervised_tuning(tiny_recipe, tmp_path):
    (tmp_path / "book.txt").write_text("Iron is hot.", "utf-8")
    with pytest.raises(RecordError, match=r"sequences\.documents"):
        train(tiny_recipe(data={"train": [str(tmp_path / "book.txt")]}), progress=False)


def test_a_mix_is_drawn_and_told(tiny_recipe, tmp_path):
    for name, words in (("domain", WORDS[:4]), ("general", WORDS * 3)):
        rows = [{"text": f"{word} is {name}. " * 3} for word in words]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tiny_recipe(
        "mix",
        data={
            "train": [
                {"path": str(tmp_path / "domain.jsonl"), "share": 0.2},
                str(tmp_path / "general.jsonl"),
            ]
        },
        sequences={"documents": True},
        training={"epochs": 1},
    )
    run = train(recipe, progress=False)
    records = RunDirectory.open(run.path).resolved().records
    assert records["unlabelled/domain"] == 4
    assert 14 <= records["unlabelled/general"] <= 18
    again = train(recipe, overwrite=True, progress=False)
    assert losses(again.path) == losses(run.path)


def test_documents_need_no_chat_template(tiny_recipe, tiny_folder, tmp_path, tokenizer_maker):
    """A base model without one is trained further on plain text, and saved without one."""
    base = tmp_path / "base"
    load_model(tiny_folder).save_pretrained(base)
    tokenizer_maker(None).save_pretrained(base)
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(f'{{"text": "The iron is {word}."}}\n' for word in WORDS), "utf-8")
    sections = {
        "model": {"path": str(base)},
        "data": {"train": [str(data)]},
        "sequences": {"documents": True},
        "samples": {"from_data": 2},
    }
    run = train(tiny_recipe(**sections), progress=False)
    assert run.summary.last_loss < run.summary.first_loss
    assert load_tokenizer(run.path).chat_template is None
    asked = {**sections, "samples": {"prompts": ["Say iron"]}}
    with pytest.raises(TemplateError, match="no chat template"):
        train(tiny_recipe("asked", **asked), progress=False)
