"""A run end to end on a tiny model: the layout of the work never changes its result."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from danlu.errors import RecipeError, RecordError, RunError, TrainingError
from danlu.runs import RunDirectory
from danlu.training.run import train
from tests.processes import Apart, train_apart


def weights(run: Path) -> dict[str, torch.Tensor]:
    [file] = [*run.glob("model/model*.safetensors"), *run.glob("adapter/adapter*.safetensors")]
    return load_file(file)


def losses(run: Path, split: str = "train") -> list[float]:
    return [row.loss for row in RunDirectory.open(run).metrics() if row.split == split]


def assert_same_weights(one: Path, other: Path, **tolerance: float) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for name in a:
        if tolerance:
            torch.testing.assert_close(a[name], b[name], rtol=0, **tolerance)
        else:
            assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("method", ["full", "lora"])
def test_run_directory_tells_all(tiny_recipe, method):
    run = train(
        tiny_recipe(
            tuning={"method": method},
            data={"eval_share": 0.2},
            samples={"prompts": ["Say iron"], "from_data": 2, "max_new_tokens": 4},
        ),
        progress=False,
    )
    directory = RunDirectory.open(run.path)
    assert directory.state() == "finished"
    rows = list(directory.metrics())
    steps = [row.step for row in rows if row.split == "train"]
    assert steps == list(range(1, len(steps) + 1))
    evals = [row for row in rows if row.split == "eval"]
    assert evals[0].step == 0
    assert evals[-1].step == steps[-1]
    for row in rows:
        assert sum(channel.tokens for channel in row.channels.values()) == row.supervised_tokens
        weighted = sum(channel.loss * channel.tokens for channel in row.channels.values())
        assert weighted / row.supervised_tokens == pytest.approx(row.loss, rel=1e-6)
    assert rows[-1].loss < evals[0].loss
    samples = directory.samples()
    assert len(samples) == 3
    assert all(sample.before is not None and sample.after is not None for sample in samples)
    resolved = directory.resolved()
    assert resolved.recipe["training"]["adam_beta2"] == 0.95
    assert sum(resolved.records.values()) + sum(resolved.eval_records.values()) == 14
    assert run.summary.steps == steps[-1]
    assert run.summary.last_loss < run.summary.first_loss
    assert (run.path / "report.html").stat().st_size > 10_000
    assert (run.path / ("model" if method == "full" else "adapter")).is_dir()
    text = (run.path / "metrics.jsonl").read_text()
    wanted = "step epoch loss learning_rate grad_norm tokens_per_second unique_tokens"
    assert set(wanted.split()) <= json.loads(text.splitlines()[1]).keys()


@pytest.mark.parametrize("weighting", ["token", "record", "turn", "task_type"])
def test_pack_size_changes_nothing(tiny_recipe, weighting):
    sequences = {"weighting": weighting}
    one = train(tiny_recipe("a", sequences=sequences, training={"pack_tokens": 1}), progress=False)
    big = train(
        tiny_recipe("b", sequences=sequences, training={"pack_tokens": 10_000}), progress=False
    )
    assert losses(one.path) == pytest.approx(losses(big.path), rel=2e-4)
    assert_same_weights(one.path, big.path, atol=2e-3)


def test_rows_and_checkpointing_change_nothing(tiny_recipe):
    forest = train(tiny_recipe("a"), progress=False)
    rows = train(tiny_recipe("b", model={"attention": "rows"}), progress=False)
    saving = train(tiny_recipe("c", training={"gradient_checkpointing": True}), progress=False)
    assert losses(rows.path) == pytest.approx(losses(forest.path), rel=2e-4)
    assert losses(saving.path) == pytest.approx(losses(forest.path), rel=2e-4)


def test_two_processes_change_nothing(tiny_recipe):
    alone = train(tiny_recipe("alone", data={"eval_share": 0.2}), progress=False)
    recipe = tiny_recipe("two", data={"eval_share": 0.2})
    train_apart(recipe, processes=2).finish()
    two = Path(recipe.runs_dir) / "two"
    assert losses(two) == pytest.approx(losses(alone.path), rel=2e-4)
    assert losses(two, "eval") == pytest.approx(losses(alone.path, "eval"), rel=2e-4)
    assert_same_weights(two, alone.path, atol=2e-3)


def test_a_launcher_whose_processes_do_not_meet_is_refused(tiny_recipe, monkeypatch):
    monkeypatch.setattr("danlu.training.run.launched_processes", lambda: 2)
    with pytest.raises(TrainingError, match="torchrun"):
        train(tiny_recipe(), progress=False)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_killed_and_resumed_ends_in_the_same_weights(tiny_recipe, method):
    """SIGKILL at whatever moment: before the first checkpoint, between two, in the midst of one."""
    sections = {
        "tuning": {"method": method, **({"lora_dropout": 0.2} if method == "lora" else {})},
        "data": {"eval_share": 0.2},
        "training": {"epochs": 40},
        "checkpoints": {"every_steps": 3},
        "evaluation": {"every_steps": 7},
    }
    train_apart(tiny_recipe("whole", **sections)).finish()
    recipe = tiny_recipe("killed", **sections)
    run = Path(recipe.runs_dir) / "killed"
    for kills, lines in enumerate((1, 17, 40, 71)):
        process = train_apart(recipe, resume=kills > 0)
        wait_for_lines(run / "metrics.jsonl", lines, process)
        process.kill()
        assert process.wait() == [-signal.SIGKILL]
        assert RunDirectory.open(run).state() == "interrupted"
    train_apart(recipe, resume=True).finish()
    assert_same_weights(Path(recipe.runs_dir) / "whole", run)
    assert losses(run) == losses(Path(recipe.runs_dir) / "whole")
    assert losses(run, "eval") == losses(Path(recipe.runs_dir) / "whole", "eval")


def wait_for_lines(file: Path, lines: int, process: Apart) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            return
        process.check_running()
        time.sleep(0.005)
    raise AssertionError(f"{file} never had {lines} lines")


def test_sigterm_leaves_at_a_steps_end_and_can_be_resumed(tiny_recipe):
    sections = {"training": {"epochs": 60}}
    recipe = tiny_recipe("stopped", **sections)
    run = Path(recipe.runs_dir) / "stopped"
    process = train_apart(recipe)
    wait_for_lines(run / "metrics.jsonl", 5, process)
    process.kill(how=signal.SIGTERM)
    process.finish()
    directory = RunDirectory.open(run)
    assert directory.state() == "interrupted"
    steps = [row.step for row in directory.metrics()]
    assert steps[-1] < 240
    assert [path.name for path in (run / "checkpoints").glob("step-*")] == [f"step-{steps[-1]:08d}"]
    train_apart(recipe, resume=True).finish()
    assert [row.step for row in directory.metrics()] == list(range(1, 241))


def test_resuming_on_other_data_or_settings_is_refused(tiny_recipe, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("danlu.training.loop.learning_rate", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe(data={"eval_share": 0.2}), progress=False)
    with pytest.raises(RunError, match="unfinished"):
        train(tiny_recipe(), progress=False)
    share = {"data": {"eval_share": 0.2}}
    with pytest.raises(RunError, match="differ"):
        train(tiny_recipe(training={"learning_rate": 5e-3}, **share), resume=True, progress=False)
    recipe = tiny_recipe(**share)
    with Path(recipe.data.train[0].path).open("a") as file:
        file.write(json.dumps({"instruction": "More", "output": "more"}) + "\n")
    with pytest.raises(RunError, match="differ"):
        train(recipe, resume=True, progress=False)
    again = tiny_recipe(training={"pack_tokens": 32}, **share)  # data are as before; layout not
    assert train(again, resume=True, progress=False).summary.steps == 6


def test_a_run_that_failed_before_its_first_step_is_simply_begun_anew(tiny_recipe):
    recipe = tiny_recipe()
    data = Path(recipe.data.train[0].path)
    good = data.read_text()
    data.write_text(good + "{broken\n")
    with pytest.raises(RecordError, match=":15"):
        train(recipe, progress=False)
    data.write_text(good)
    assert train(recipe, progress=False).summary.steps == 8


def test_a_gradient_that_is_not_finite_names_records_and_changes_nothing(tiny_recipe, monkeypatch):
    from danlu.models import head

    own = head.OutputHead.weighted_nll
    calls = []

    def poisoned(self, hidden, target, weight):
        calls.append(1)
        nats, nll = own(self, hidden, target, weight)
        return head.WeightedNll(nats * float("nan") if len(calls) == 4 else nats, nll)

    monkeypatch.setattr(head.OutputHead, "weighted_nll", poisoned)
    recipe = tiny_recipe(checkpoints={"every_steps": 1}, training={"pack_tokens": 10_000})
    with pytest.raises(TrainingError, match=r"step 4:") as caught:
        train(recipe.model_copy(update={"name": "nan"}), progress=False)
    message = str(caught.value)
    assert "step-00000003" in message
    named = set(re.search(r"Records: (.*?)\. Nothing", message)[1].split(", "))
    assert len(named) == 2  # the last step of the first epoch
    assert named < {f"r{i}" for i in range(14)}
    run = Path(recipe.runs_dir) / "nan"
    assert RunDirectory.open(run).state() == "failed"
    kept = list((run / "checkpoints").glob("step-*"))
    assert len(kept) == 1
    tensors = load_file(kept[0] / "state.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_early_stopping_keeps_the_best_weights(tiny_recipe):
    recipe = tiny_recipe(
        data={"eval_share": 0.3},
        training={"epochs": 60, "learning_rate": 5e-2},
        evaluation={"every_steps": 2, "patience": 3},
    )
    run = train(recipe, progress=False)
    evals = [row for row in RunDirectory.open(run.path).metrics() if row.split == "eval"]
    best = min(evals, key=lambda row: row.loss)
    assert evals.index(best) == len(evals) - 4
    assert run.summary.best_eval_step == best.step < run.summary.steps
    saved = load_file(run.path / "checkpoints" / "best" / "state.safetensors")
    kept = weights(run.path)
    assert torch.equal(kept["model.norm.weight"], saved["parameter.model.norm.weight"])


def test_new_tokens_are_trained_and_saved_with_lora(tiny_recipe):
    recipe = tiny_recipe(model={"new_tokens": ["<炉>"]}, tuning={"method": "lora"})
    run = train(recipe, progress=False)
    saved = weights(run.path)
    assert any("trainable_tokens" in name for name in saved)
    from danlu.models.load import load_tokenizer

    assert len(load_tokenizer(run.path).encode("<炉>", add_special_tokens=False)) == 1


def test_nothing_to_train_on_is_said(tiny_recipe):
    with pytest.raises(RecipeError, match=r"data\.train"):
        train(tiny_recipe("none", data={"train": []}), progress=False)
    with pytest.raises(TrainingError, match="overlong"):
        train(tiny_recipe("short", sequences={"max_length": 2}), progress=False)


def test_held_out_records_may_be_of_task_types_that_are_not_trained(tiny_recipe, tmp_path):
    rows = [
        {
            "id": f"e{kind}",
            "task_type": kind,
            "messages": [
                {"role": "user", "content": "Say iron"},
                {"role": "assistant", "content": "iron"},
            ],
        }
        for kind in ("a/new", "say/short", "t/new", "u/new", "z/new")
    ]
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    recipe = tiny_recipe(data={"eval": [str(held_out)]}, training={"max_steps": 1})
    run = train(recipe, progress=False)
    first, *_ = RunDirectory.open(run.path).metrics()
    assert set(first.channels) == {row["task_type"] for row in rows}
    # Five times the same words: the loss of each type is that of all.
    for channel in first.channels.values():
        assert channel.loss == pytest.approx(first.loss, rel=1e-5)


def test_an_observer_sees_each_row_and_training_tells_how_the_stop_token_fares(tiny_recipe):
    seen = []

    def observer(run, say):
        assert run.resolved() is not None
        say("watching")
        return seen.append

    recipe = tiny_recipe(training={"max_steps": 3})
    run = train(recipe, progress=False, observer=observer)
    rows = list(RunDirectory.open(run.path).metrics())
    assert seen == rows
    assert all(row.metrics["stop_loss"] > 0 for row in rows)
    assert rows[-1].metrics.keys() == {"stop_loss"}
