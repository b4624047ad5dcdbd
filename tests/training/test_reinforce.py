"""ppo and grpo end to end: on a tiny model, and at the end on the built-in one."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch.nn import functional

from danlu.config import load_recipe
from danlu.config.recipe import Recipe, SequencesSection
from danlu.errors import RecipeError, RecordError, TrainingError
from danlu.generation import Completion, Sampling
from danlu.generation.local import TransformersGenerator
from danlu.models.forest_support import ordinary_attention, use_forest_attention
from danlu.models.load import load_for_tuning, load_model, load_tokenizer
from danlu.models.readout import Readout
from danlu.models.tuning import apply_tuning
from danlu.objectives import ChannelSums, build_objective
from danlu.objectives.policy import Measured
from danlu.records import read_records
from danlu.runs import RunDirectory
from danlu.sequences.branch import Branch
from danlu.sequences.lengths import COMPLETION_CUT, OVERLONG, PROMPT_CUT
from danlu.sequences.prompts import prepare_prompts
from danlu.sequences.template import ChatTemplate
from danlu.training.policy import PolicyModel
from danlu.training.reinforce import (
    EVALUATE,
    SAMPLE,
    SHUFFLE,
    _kl,
    _minibatches,
    _nothing,
    _rollout_sums,
    _seed,
)
from danlu.training.rollout_log import RolloutLog, RolloutRow
from danlu.training.rollouts import Rollouts, Sampler, longest, roll_out
from danlu.training.run import train
from danlu.training.scoring import Packing, ScoringModel
from tests.processes import train_apart
from tests.training.conftest import WORDS
from tests.training.test_devices import ZERO
from tests.training.test_run import assert_same_weights, losses, wait_for_lines

RULES = """
def letters(answer, record):
    return 5 * sum(character == "e" for character in answer) / max(1, len(answer))

def crashing(answer, record):
    if record.id == "r3":
        raise KeyError("no judge")
    return 0.0
"""
BOTH = pytest.mark.parametrize("objective", ["ppo", "grpo"])
REPORTED = {"reward", "kl", "entropy", "clip_fraction", "length", "truncated", "policy_loss"}


def write_prompts(path: Path, records: int = 14) -> Path:
    """Questions of two task types: some answered, some not, some with answers to compare."""
    rows = []
    for i in range(records):
        asked = " ".join(WORDS[(i * 5 + k) % len(WORDS)] for k in range(1 + i % 4))
        row: dict[str, Any] = {"id": f"r{i}", "task_type": ("say/short", "say/long")[i % 2]}
        row["messages"] = [{"role": "user", "content": f"Say {asked}"}]
        if i % 3 == 0:
            row["messages"].append({"role": "assistant", "content": asked})
        if i % 3 == 1:
            row["responses"] = [{"content": asked, "rank": 1}, {"content": "no", "rank": 2}]
        rows.append(row)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def practice(tiny_recipe, tmp_path):
    """Make a recipe for ppo or grpo with the rule ``letters``."""
    rules = tmp_path / "rules.py"
    rules.write_text(RULES)

    def make(kind: str, name: str = "run", **sections: Any) -> Recipe:
        own: dict[str, Any] = {
            "data": {"train": [str(write_prompts(tmp_path / "prompts.jsonl"))]},
            "objective": {"name": kind},
            "rollouts": {
                "reward": f"{rules}:letters",
                "max_new_tokens": 8,
                "group_size": 4,
                "epochs": 2,
                "minibatches": 2,
            },
            "training": {"learning_rate": 3e-3, "epochs": 1, "schedule": "constant"},
        }
        for key, values in sections.items():
            own[key] = {**own.get(key, {}), **values}
        return tiny_recipe(name, **own)

    return make


def rows_of(run: Path, split: str = "train") -> list[Any]:
    return [row for row in RunDirectory.open(run).metrics() if row.split == split]


@BOTH
def test_a_run_reports_what_happened(practice, objective):
    recipe = practice(
        objective,
        data={"eval_share": 0.2},
        training={"epochs": 2},
        rollouts={"keep_per_step": 3},
        samples={"from_data": 1, "max_new_tokens": 4},
    )
    run = train(recipe, progress=False)
    directory = RunDirectory.open(run.path)
    assert directory.state() == "finished"
    trained, evaluated = rows_of(run.path), rows_of(run.path, "eval")
    assert [row.step for row in trained] == list(range(1, 1 + len(trained)))
    assert [row.step for row in evaluated] == [0, 3, 6]
    own = {"value_loss", "explained_variance"} if objective == "ppo" else set()
    for row in trained:
        assert REPORTED | own <= row.metrics.keys()
        assert set(row.channels) <= {"say/short", "say/long"}
        for channel in row.channels.values():
            assert channel.metrics.keys() >= REPORTED
        records = sum(channel.records for channel in row.channels.values())
        mean = sum(c.records * c.metrics["reward"] for c in row.channels.values()) / records
        assert mean == pytest.approx(row.metrics["reward"])
        answers = 4 * records
        # Two passes over all sampled tokens.
        assert row.supervised_tokens == 2 * round(answers * row.metrics["length"])
        assert row.grad_norm > 0
    first = trained[0].metrics
    assert first["kl"] == 0.0
    assert 0 <= first["truncated"] <= 1
    assert first["entropy"] == pytest.approx(4.5, abs=0.5)  # log 360 is 5.9
    for row in evaluated:
        assert (row.metrics.keys() & REPORTED) == REPORTED - {"clip_fraction", "policy_loss"}
        answered = sum(channel.records for channel in row.channels.values())
        assert row.supervised_tokens == round(answered * row.metrics["length"])
    weight = 0.02 if objective == "ppo" else 0.04
    last = evaluated[-1].metrics
    price = weight * last["kl"] / (1 if objective == "ppo" else last["length"])
    gain = last["reward"] - last["truncated"]  # a penalty of 1
    assert evaluated[-1].loss == pytest.approx(price - gain, rel=1e-6)
    log = RolloutLog(run.path).rows()
    assert {row.step for row in log} == set(range(1, 7))
    assert len(log) == 3 * 6
    assert all(row.tokens <= 8 and row.prompt.startswith("Say ") for row in log)
    assert run.summary.steps == 6
    assert (run.path / "report.html").stat().st_size > 10_000
    saved = run.path / "model"
    assert (saved / "critic" / "readout.safetensors").is_file() == (objective == "ppo")
    assert not (saved / "readout.json").exists()


@BOTH
def test_the_mean_reward_rises_and_the_kl_stays_bounded(practice, objective):
    recipe = practice(
        objective,
        data={"eval_share": 0.2},
        objective={"kl_weight": 0.1} if objective == "grpo" else {"kl_weight": 0.02},
        rollouts={"group_size": 8, "epochs": 2, "minibatches": 1, "max_new_tokens": 12},
        training={"epochs": 12, "pack_tokens": 1024},
        evaluation={"keep_best": False},
    )
    run = train(recipe, progress=False)
    trained, evaluated = rows_of(run.path), rows_of(run.path, "eval")
    rewards = [row.metrics["reward"] for row in trained]
    assert np.mean(rewards[-6:]) > 2 * np.mean(rewards[:6])
    assert evaluated[-1].metrics["reward"] > 1.5 * evaluated[0].metrics["reward"]
    assert max(row.metrics["kl"] for row in trained) < 40
    assert min(row.metrics["clip_fraction"] for row in trained) < 0.5


@BOTH
def test_layout_changes_nothing(practice, objective):
    one = train(practice(objective, "a", training={"pack_tokens": 1}), progress=False)
    big = train(practice(objective, "b", training={"pack_tokens": 10_000}), progress=False)
    rows = train(practice(objective, "c", model={"attention": "rows"}), progress=False)
    for other in (big, rows):
        assert losses(other.path) == pytest.approx(losses(one.path), rel=2e-4)
        assert_same_weights(one.path, other.path, atol=2e-3)
        logs = [RolloutLog(run.path).rows() for run in (one, other)]
        assert [row.answer for row in logs[0]] == [row.answer for row in logs[1]]


@pytest.fixture
def shared(tmp_path) -> dict[str, Any]:
    """Sections for 9 records in steps of 4: of the last one, of two processes one has nothing."""
    file = write_prompts(tmp_path / "thirteen.jsonl", records=13)
    return {
        "data": {"train": [str(file)], "eval_share": 0.25},
        "training": {"pack_tokens": 40},
    }


def assert_same_practice(one: Path, other: Path) -> None:
    """The same losses, rewards, counts, answers and saved weights, to rounding."""
    for split in ("train", "eval"):
        rows, others = rows_of(one, split), rows_of(other, split)
        assert losses(one, split) == pytest.approx(losses(other, split), rel=2e-4)
        for name in ("supervised_tokens", "step"):
            assert [getattr(row, name) for row in rows] == [getattr(row, name) for row in others]
        for name in ("reward", "kl", "kl_weight", "entropy", "value_loss", "clip_fraction"):
            told = [row.metrics.get(name, 0.0) for row in rows]
            assert told == pytest.approx(
                [row.metrics.get(name, 0.0) for row in others], rel=2e-3, abs=5e-4
            )
    assert [row.answer for row in RolloutLog(one).rows()] == [
        row.answer for row in RolloutLog(other).rows()
    ]
    assert_same_weights(one, other, atol=2e-3)
    for head in other.glob("*/critic/readout.safetensors"):
        found = load_file(one / head.relative_to(other))
        for name, tensor in load_file(head).items():
            torch.testing.assert_close(found[name], tensor, atol=2e-3, rtol=0)


@BOTH
def test_two_processes_change_nothing(practice, shared, objective):
    """Neither with weights shared out, nor where both compute each pack together.

    While they sample, no process waits for another: their answers have different lengths.
    """
    if objective == "ppo":
        shared["objective"] = {"kl_weight": 0.2, "kl_target": 1.0}
    alone = train(practice(objective, "alone", **shared), progress=False)
    assert [
        sum(channel.records for channel in row.channels.values())
        for row in RunDirectory.open(alone.path).metrics()
    ] == [4, 4, 4, 1, 4]
    spread = {
        "ddp": {},
        "fsdp2": {"strategy": "fsdp2"},
        "together": {"strategy": "fsdp2", "context_parallel": 2},
    }
    recipes = [practice(objective, k, devices=devices, **shared) for k, devices in spread.items()]
    train_apart(*recipes, processes=2).finish()
    for recipe in recipes:
        assert_same_practice(Path(recipe.runs_dir) / recipe.name, alone.path)


@BOTH
@pytest.mark.parametrize("strategy", ZERO[1:])
def test_zero_changes_nothing(practice, shared, objective, strategy):
    alone = train(practice(objective, "alone", **shared), progress=False)
    recipe = practice(objective, strategy, devices={"strategy": strategy}, **shared)
    train_apart(recipe, processes=2).finish()
    assert_same_practice(Path(recipe.runs_dir) / recipe.name, alone.path)


@BOTH
def test_killed_and_resumed_ends_in_the_same_weights(practice, objective):
    """With the critic, an adaptive KL weight and LoRA, whose reference is the run's beginning."""
    sections: dict[str, Any] = {
        "tuning": {"method": "lora"},
        "data": {"eval_share": 0.2},
        "training": {"epochs": 8},
        "checkpoints": {"every_steps": 3},
    }
    if objective == "ppo":
        sections["objective"] = {"kl_weight": 0.2, "kl_target": 1.0}
    train_apart(practice(objective, "whole", **sections)).finish()
    recipe = practice(objective, "killed", **sections)
    run, whole = (Path(recipe.runs_dir) / name for name in ("killed", "whole"))
    for kills, lines in enumerate((2, 12)):
        process = train_apart(recipe, resume=kills > 0)
        wait_for_lines(run / "metrics.jsonl", lines, process)
        process.kill()
        assert process.wait() == [-signal.SIGKILL]
    train_apart(recipe, resume=True).finish()
    assert_same_weights(whole, run)
    for split in ("train", "eval"):
        assert losses(run, split) == losses(whole, split)
        assert [r.metrics for r in rows_of(run, split)] == [
            r.metrics for r in rows_of(whole, split)
        ]
    assert RolloutLog(run).rows() == RolloutLog(whole).rows()
    if objective == "ppo":
        critics = [path / "adapter" / "critic" / "readout.safetensors" for path in (run, whole)]
        assert critics[0].read_bytes() == critics[1].read_bytes()
        weights = [row.metrics["kl_weight"] for row in rows_of(run)]
        assert weights[0] == pytest.approx(0.2)
        assert len(set(weights)) > 10


def test_the_kl_weight_follows_its_target(practice):
    """The first step has no KL, which lowers the weight by 2 % (Ziegler et al., with gain 0.1)."""
    recipe = practice("ppo", objective={"kl_weight": 0.2, "kl_target": 5.0})
    rows = rows_of(train(recipe, progress=False).path)
    weights = [row.metrics["kl_weight"] for row in rows]
    assert weights[:2] == pytest.approx([0.2, 0.2 * 0.98], rel=1e-6)
    error = min(max(rows[1].metrics["kl"] / 5.0 - 1, -0.2), 0.2)
    assert weights[2] == pytest.approx(weights[1] * (1 + 0.1 * error), rel=1e-6)


@BOTH
def test_a_policy_that_runs_away_is_stopped(practice, objective):
    recipe = practice(
        objective,
        rollouts={"kl_limit": 3.0},
        training={"learning_rate": 3e-2, "epochs": 5},
        checkpoints={"every_steps": 1},
    )
    with pytest.raises(TrainingError, match=r"the policy has run away") as caught:
        train(recipe, progress=False)
    run = Path(recipe.runs_dir) / "run"
    message, steps = caught.value.message, [row.step for row in rows_of(run)]
    assert caught.value.where == f"step {steps[-1] + 1}"
    assert "rollouts.kl_limit is 3 " in message
    assert f"step-{steps[-1]:08d}" in message
    assert "learning_rate" in message
    measured = float(message.split("KL to the reference is ")[1].split()[0])
    assert measured > 3
    assert all(row.metrics["kl"] <= 3 for row in rows_of(run))
    assert RolloutLog(run).rows()[-1].step == steps[-1] + 1  # what ran away can be read
    assert RunDirectory.open(run).state() == "failed"


def test_no_limit_no_stop(practice):
    recipe = practice(
        "grpo",
        objective={"kl_weight": 0.0},
        rollouts={"kl_limit": None},
        training={"learning_rate": 3e-2},
    )
    rows = rows_of(train(recipe, progress=False).path)
    assert "kl" not in rows[-1].metrics  # no reference is kept
    assert all(row.kl is None for row in RolloutLog(Path(recipe.runs_dir) / "run").rows())


def test_a_reward_that_crashes_ends_every_process(practice, tmp_path):
    recipe = practice("grpo", rollouts={"reward": f"{tmp_path}/rules.py:crashing"})
    with pytest.raises(TrainingError, match=r"record r3: .*KeyError: 'no judge'.*The answer was '"):
        train(recipe, progress=False)
    two = recipe.model_copy(update={"name": "two"})
    process = train_apart(two, processes=2)
    assert process.wait() == [1, 1]
    log = process.log.read_text()
    assert "no judge" in log
    assert log.count("danlu.errors.TrainingError: record r3") == 2


def test_truncated_answers_are_penalised_or_left_out(practice, monkeypatch):
    """A model that stops with every second token: some answers of 2 tokens end, some do not."""
    from danlu.training import reinforce

    seen = []
    own = reinforce._lesson

    def spy(loop, practice, rollouts, branches, measured, lengths):
        lesson = own(loop, practice, rollouts, branches, measured, lengths)
        seen.append((rollouts, reinforce._gains(loop, rollouts), lesson))
        return lesson

    monkeypatch.setattr(reinforce, "_lesson", spy)
    monkeypatch.setattr(
        TransformersGenerator, "stop_ids", property(lambda self: frozenset(range(0, 360, 2)))
    )
    short = {"max_new_tokens": 2, "epochs": 1, "minibatches": 1}
    rows = rows_of(train(practice("grpo", "a", rollouts=short), progress=False).path)
    tokenizer = load_tokenizer(Path(practice("grpo").runs_dir) / "a")
    for (rollouts, gains, lesson), row in zip(seen, rows, strict=True):
        for completion in rollouts.completions:
            end = -1 if completion.finished else None
            assert completion.text == tokenizer.decode(completion.token_ids[:end])
        assert 0 < row.metrics["truncated"] < 1
        assert row.metrics["truncated"] == pytest.approx(np.mean(~rollouts.finished))
        np.testing.assert_allclose(gains, rollouts.rewards - 1.0 * ~rollouts.finished)
        assert len(lesson.branches) == len(rollouts.completions)
        assert row.loss == pytest.approx(
            -gains.mean() + 0.04 * row.metrics["kl"] / row.metrics["length"], rel=1e-6
        )
    seen.clear()
    mask = {**short, "truncated": "mask"}
    rows = rows_of(train(practice("grpo", "b", rollouts=mask), progress=False).path)
    for (rollouts, gains, lesson), row in zip(seen, rows, strict=True):
        np.testing.assert_array_equal(gains, rollouts.rewards)
        ended = [
            index
            for index, completion in enumerate(rollouts.completions)
            if completion.finished
            and sum(
                other.finished
                for other, prompt in zip(rollouts.completions, rollouts.prompts, strict=True)
                if prompt.record == rollouts.prompts[index].record
            )
            >= 2
        ]
        assert [branch.branch for branch in lesson.branches] == ended
        assert row.supervised_tokens == sum(
            len(rollouts.completions[index].token_ids) for index in ended
        )


@BOTH
def test_a_step_is_that_of_plain_torch(practice, monkeypatch, objective):
    """Four updates of one step, by transformers' logits, torch's AdamW and the papers' equations.

    What was sampled and which answers make up a minibatch are taken from the run; all else is
    computed anew: rewards, advantages, losses, gradients and weights.
    """
    from danlu.training import reinforce

    seen: dict[str, Any] = {"updates": []}
    lesson_of, update = reinforce._lesson, reinforce._update

    def spy_lesson(loop, practice, rollouts, *rest):
        seen["rollouts"] = rollouts
        return lesson_of(loop, practice, rollouts, *rest)

    def spy_update(loop, practice, lesson, chosen, totals):
        seen["updates"].append(chosen.tolist())
        done = update(loop, practice, lesson, chosen, totals)
        seen["grad_norm"] = done[0]
        return done

    monkeypatch.setattr(reinforce, "_lesson", spy_lesson)
    monkeypatch.setattr(reinforce, "_update", spy_update)
    recipe = practice(
        objective,
        training={"max_steps": 1, "max_grad_norm": 0, "warmup_ratio": 0, "pack_tokens": 50},
        samples={"from_data": 0},
    )
    run = train(recipe, progress=False)
    rollouts, settings = seen["rollouts"], recipe.training
    assert len(seen["updates"]) == 4

    model = load_model(recipe.model.path)
    answers = [list(completion.token_ids) for completion in rollouts.completions]
    prompts = [prompt.input_ids.tolist() for prompt in rollouts.prompts]
    critic = torch.nn.Linear(model.config.hidden_size, 1)
    torch.nn.init.zeros_(critic.weight)
    torch.nn.init.zeros_(critic.bias)

    def score(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.tensor([prompts[index] + answers[index]])
        output = model(input_ids=ids, output_hidden_states=True)
        here = slice(len(prompts[index]) - 1, -1)
        logprobs = functional.log_softmax(output.logits[0, here], -1)
        own = logprobs.gather(1, torch.tensor(answers[index])[:, None])[:, 0]
        return own, critic(output.hidden_states[-1][0, here])[:, 0]

    letters = [5 * c.text.count("e") / max(1, len(c.text)) for c in rollouts.completions]
    assert rollouts.rewards.tolist() == letters
    gains = torch.tensor(letters) - 1.0 * ~torch.from_numpy(rollouts.finished)
    with torch.no_grad():
        old = [score(index)[0] for index in range(len(answers))]
    if objective == "grpo":
        groups = gains.reshape(-1, 4)
        spread = groups.std(1, keepdim=True) + 1e-4
        advantages = ((groups - groups.mean(1, keepdim=True)) / spread).flatten()
        advantage = [advantages[index].expand(len(answers[index])) for index in range(len(answers))]
    else:
        # Values are 0 and policy and reference are equal, so only the last token is rewarded.
        raw = [
            gain * 0.95 ** torch.arange(len(answer) - 1, -1, -1)
            for gain, answer in zip(gains, answers, strict=True)
        ]
        flat = torch.cat(raw)
        advantage = [(one - flat.mean()) / flat.std(correction=0) for one in raw]
    parameters = [*model.parameters(), *critic.parameters()]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        weight_decay=0.0,
    )
    for chosen in seen["updates"]:
        optimizer.zero_grad()
        terms = []
        for index in chosen:
            own, value = score(index)
            ratio = (own - old[index]).exp()
            gain = torch.minimum(advantage[index] * ratio, advantage[index] * ratio.clamp(0.8, 1.2))
            if objective == "grpo":
                apart = old[index] - own
                terms.append((-gain + 0.04 * (apart.exp() - apart - 1)).mean())
            else:
                error = torch.maximum(
                    (value - raw[index]) ** 2, (value.clamp(-0.2, 0.2) - raw[index]) ** 2
                )
                terms.append((-gain + 0.1 * error / 2).sum())
        tokens = sum(len(answers[index]) for index in chosen)
        loss = torch.stack(terms).sum() / (len(chosen) if objective == "grpo" else tokens)
        loss.backward()
        norms = [part.grad.norm() for part in parameters if part.grad is not None]
        optimizer.step()
    assert seen["grad_norm"] == pytest.approx(float(torch.stack(norms).norm()), rel=1e-3)
    trained = load_model(run.path)
    for (name, found), expected in zip(trained.named_parameters(), model.parameters(), strict=True):
        # Of a gradient that is nearly 0 Adam takes the sign, which rounding decides.
        apart = (found - expected).abs()
        assert (apart > 1e-4).float().mean() < 0.02, name
    if objective == "ppo":
        saved = Readout.load(run.path / "model" / "critic").linear.weight
        torch.testing.assert_close(saved, critic.weight, rtol=1e-2, atol=1e-4)


def test_the_log_forgets_what_comes_after_a_step(tmp_path):
    log = RolloutLog(tmp_path)
    assert log.rows() == []
    log.truncate_after(3)
    assert not log.path.exists()

    def row(step: int) -> RolloutRow:
        told = {"record": "r", "task_type": "a/b", "prompt": "?", "answer": "炉", "reward": 1.0}
        return RolloutRow(step=step, tokens=1, finished=True, **told)

    for step in (1, 2, 3):
        log.append([row(step), row(step)])
    with log.path.open("a") as file:
        file.write('{"step": 4, "rec')  # a kill
    log.truncate_after(2)
    assert log.rows() == [row(1), row(1), row(2), row(2)]
    log.append([row(3)])
    assert log.path.read_text("utf-8").splitlines()[-1] == row(3).to_json()


def test_when_no_answer_ends_there_is_nothing_to_learn(practice, monkeypatch):
    monkeypatch.setattr(TransformersGenerator, "stop_ids", frozenset())
    recipe = practice("ppo", rollouts={"max_new_tokens": 1, "truncated": "mask"})
    with pytest.raises(TrainingError, match=r"too few ended within 1 tokens.*truncated: penalty"):
        train(recipe, progress=False)


def test_what_is_reported_of_answers_by_hand():
    """Two groups and a single answer over two task types, in no order."""
    recipe = {"name": "x", "objective": {"name": "grpo"}, "rollouts": {"reward": "f"}}
    prepared = SimpleNamespace(channels=("a/b", "c/d"))
    loop: Any = SimpleNamespace(
        recipe=Recipe.model_validate(recipe), train=SimpleNamespace(prepared=prepared)
    )
    owners = [(7, 0), (4, 1), (7, 0), (4, 1), (9, 1)]  # record and channel
    none = np.zeros(0, np.int32)
    prompts = [Branch(none, none, record, 0, channel, 0) for record, channel in owners]
    finished = [True, True, False, True, False]
    completions = [Completion("", (5,), None, ended) for ended in finished]
    rollouts = Rollouts(prompts, completions, np.array([1.0, 2.0, 3.0, 2.0, 5.0]))
    lengths_N = torch.tensor([1, 2, 1, 1, 3])
    measured = Measured(
        logprob_T=torch.arange(8.0),
        entropy_T=torch.tensor([1.0, 2, 2, 3, 4, 5, 5, 5]),
        value_T=None,
        reference_T=torch.arange(8.0) - torch.tensor([1.0, 0, 2, 3, 4, 5, 6, 7]),
    )
    kl_N = _kl(measured, lengths_N)
    assert kl_N.tolist() == [1, 2, 3, 4, 18]
    found = _rollout_sums(loop, rollouts, measured, kl_N, lengths_N).totals
    assert {name: total.tolist() for name, total in found.items()} == {
        "answers": [2, 3],
        "reward": [4, 9],
        "square_reward": [10, 33],
        "gain": [3, 8],
        "length": [2, 6],
        "entropy": [4, 23],
        "truncated": [1, 1],
        "groups": [1, 1],  # one answer is no group
        "level_groups": [0, 1],
        "kl": [4, 24],
    }
    assert not any(total.any() for total in _nothing(ChannelSums(kl_N[0], found)).totals.values())


def test_every_step_and_purpose_has_a_seed_of_its_own():
    def seed(step: int, purpose: int, place: int = 0, run: int = 42) -> int:
        recipe = SimpleNamespace(training=SimpleNamespace(seed=run))
        return _seed(
            SimpleNamespace(recipe=recipe, state=SimpleNamespace(step=step)), purpose, place
        )

    drawn = [seed(step, purpose) for step in range(5) for purpose in (SAMPLE, SHUFFLE)]
    drawn += [seed(0, EVALUATE, place) for place in (0, 256)] + [seed(0, SAMPLE, run=43)]
    assert len(set(drawn)) == 13
    assert seed(7, EVALUATE) == seed(0, EVALUATE)  # evaluations are alike


def test_minibatches_are_whole_groups_dealt_anew(practice):
    recipe = practice("grpo", rollouts={"epochs": 3, "minibatches": 2})
    loop: Any = SimpleNamespace(recipe=recipe, state=SimpleNamespace(step=0))
    none = np.zeros(0, np.int32)
    branches = [Branch(none, none, 10 + place % 5, 0, 0, 0) for place in range(20)]
    parts = list(_minibatches(loop, branches))
    assert len(parts) == 6
    for one, other in zip(parts[::2], parts[1::2], strict=True):
        assert sorted([*one, *other]) == list(range(20))
        groups = [{branches[place].record for place in part} for part in (one, other)]
        assert not groups[0] & groups[1]
        assert sorted(map(len, groups)) == [2, 3]
    assert len({tuple(part) for part in parts[::2]}) > 1
    again = list(_minibatches(loop, branches))
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_for_estimates_answers_are_as_long_as_they_may_be(practice):
    recipe = practice("grpo", rollouts={"max_new_tokens": 9}, sequences={"max_length": 20})
    prompts = [
        Branch(np.arange(5, 5 + n, dtype=np.int32), np.zeros(n, np.float32), r, 0, 0, n)
        for r, n in enumerate((6, 14))
    ]
    found = longest(prompts, recipe)
    assert [len(branch.input_ids) for branch in found] == [15] * 4 + [20] * 4
    assert [int(branch.weights.sum()) for branch in found] == [9] * 4 + [6] * 4
    assert sum(pack.tokens for pack in Packing(999).packs(found)) == 14 + 4 * 9 + 4 * 6


@pytest.fixture(scope="module")
def tiny_policy(tiny_folder):
    """A policy over the tiny model, its tokenizer, template and prompts."""
    tokenizer = load_tokenizer(tiny_folder)
    template = ChatTemplate.load(tokenizer)
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "objective": {"name": "grpo"},
            "rollouts": {"max_new_tokens": 6, "reward": "rules.py:f"},
        }
    )
    model = load_model(tiny_folder)
    assert use_forest_attention(model) is None
    objective = build_objective(recipe.objective)
    policy = PolicyModel(ScoringModel(model, objective, 1), keep_reference=True)
    policy.begin()
    return policy, Sampler(model, tokenizer, template, recipe), tokenizer, template


def prompt_of(sampler: Sampler, tokenizer: Any, text: str, record: int) -> Branch:
    asked = [{"role": "user", "content": text}]
    rendered = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    ids = np.array(tokenizer(rendered, add_special_tokens=False)["input_ids"], np.int32)
    return Branch(ids, np.zeros(len(ids), np.float32), record, 0, 0, len(ids))


def test_tokens_are_learned_as_they_were_sampled(tiny_policy):
    """The ids are the sampler's; the old log-probabilities are the policy's at temperature 1."""
    policy, sampler, tokenizer, template = tiny_policy
    prompts = [prompt_of(sampler, tokenizer, text, k) for k, text in enumerate(("Say", "Hot iron"))]
    reward = lambda records, completions: [1.0] * len(records)  # noqa: E731
    rollouts = roll_out(
        policy, prompts, [None, None], 3, sampler, reward, Accelerator(cpu=True), seed=5
    )
    generator = TransformersGenerator(policy.model, tokenizer, template)
    sampling = Sampling(max_new_tokens=6, temperature=1.0, top_p=1.0, seed=5, logprobs=True)
    six = [prompts[k // 3].input_ids.tolist() for k in range(6)]
    expected = generator.generate_ids(six, sampling)
    assert [c.token_ids for c in rollouts.completions] == [c.token_ids for c in expected]
    assert len({c.token_ids for c in rollouts.completions}) == 6
    branches = rollouts.branches()
    retokenised = [
        tokenizer(completion.text, add_special_tokens=False)["input_ids"]
        for completion in rollouts.completions
    ]
    assert any(
        ids != list(c.token_ids) for ids, c in zip(retokenised, rollouts.completions, strict=True)
    )  # so that learning from text would show
    for branch, completion in zip(branches, rollouts.completions, strict=True):
        assert branch.input_ids[branch.prompt_tokens :].tolist() == list(completion.token_ids)
        assert branch.weights.sum() == len(completion.token_ids)
    measured = policy.measure(policy, branches, Packing(64), Accelerator(cpu=True))
    sampled = [logprob for completion in expected for logprob in completion.logprobs]
    assert measured.logprob_T.tolist() == pytest.approx(sampled, abs=2e-5)


def test_what_is_drawn_depends_on_the_place_alone(tiny_policy):
    """So any number of processes draws the same answers."""
    _, sampler, tokenizer, _ = tiny_policy
    prompts = [prompt_of(sampler, tokenizer, f"Say {word}", k) for k, word in enumerate(WORDS[:5])]
    whole = sampler.sample(prompts, range(5), seed=3)
    parts = [sampler.sample(prompts[start::2], range(start, 5, 2), seed=3) for start in (0, 1)]
    assert [c.token_ids for c in parts[0]] == [c.token_ids for c in whole[0::2]]
    assert [c.token_ids for c in parts[1]] == [c.token_ids for c in whole[1::2]]
    other = sampler.sample(prompts, range(5), seed=4)
    assert [c.token_ids for c in other] != [c.token_ids for c in whole]


def test_temperature_shapes_what_is_sampled_and_not_what_is_measured(tiny_policy):
    policy, sampler, tokenizer, template = tiny_policy
    cold = Recipe.model_validate(
        {
            "name": "x",
            "objective": {"name": "grpo"},
            "rollouts": {"max_new_tokens": 6, "temperature": 0.05, "reward": "rules.py:f"},
        }
    )
    sampler = Sampler(policy.model, tokenizer, template, cold)
    prompt = prompt_of(sampler, tokenizer, "Say iron", 0)
    greedy, again = sampler.sample([prompt, prompt], [0, 1], seed=1)
    assert greedy.token_ids == again.token_ids
    ids = torch.tensor([[*prompt.input_ids.tolist(), *greedy.token_ids]])
    with torch.no_grad(), ordinary_attention(policy.model):
        logits = policy.model(input_ids=ids).logits[0, len(prompt.input_ids) - 1 : -1]
    expected = functional.log_softmax(logits, -1).gather(1, ids[0, len(prompt.input_ids) :, None])
    reward = lambda records, completions: [0.0]  # noqa: E731
    rollouts = roll_out(policy, [prompt], [None], 1, sampler, reward, Accelerator(cpu=True), seed=1)
    measured = policy.measure(policy, rollouts.branches(), Packing(64), Accelerator(cpu=True))
    torch.testing.assert_close(measured.logprob_T, expected[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["full", "lora", "ia3", "prompt"])
def test_the_reference_is_the_model_as_the_run_began(tiny_folder, method):
    tuning = {"method": method, "virtual_tokens": 3} if method == "prompt" else {"method": method}
    recipe = Recipe.model_validate(
        {"name": "x", "tuning": tuning, "objective": {"name": "grpo"}, "rollouts": {"reward": "f"}}
    )
    torch.manual_seed(0)
    tokenizer = load_tokenizer(tiny_folder)
    model = apply_tuning(
        load_for_tuning(str(tiny_folder), recipe.tuning), recipe.tuning, tokenizer=tokenizer
    )
    with torch.no_grad():  # as one that goes on, whose adapter is not nothing
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    scoring = ScoringModel(model, build_objective(recipe.objective), 1)
    policy = PolicyModel(scoring, keep_reference=True)
    policy.begin()
    ids = np.arange(5, 17, dtype=np.int32)
    branch = Branch(ids, (np.arange(12) >= 6).astype(np.float32), 0, 0, 0, 6)
    rows = Packing(64, forest=False)
    before = policy.measure(policy, [branch], rows, Accelerator(cpu=True))
    assert torch.equal(before.logprob_T, before.reference_T)
    moved = [part for part in model.parameters() if part.requires_grad]
    assert policy.kept == sum(part.numel() for part in moved)
    with torch.no_grad():
        for part in moved:
            part.mul_(0.5)
    after = policy.measure(policy, [branch], rows, Accelerator(cpu=True))
    torch.testing.assert_close(after.reference_T, before.reference_T, rtol=1e-5, atol=1e-6)
    assert (after.logprob_T - before.logprob_T).abs().max() > 1e-3


def test_prompts_end_where_an_answer_is_wanted(tiny_folder, tmp_path):
    tokenizer = load_tokenizer(tiny_folder)
    template = ChatTemplate.load(tokenizer)
    file = write_prompts(tmp_path / "p.jsonl", records=3)
    records = list(read_records(file))
    settings = SequencesSection(max_length=64)
    found = prepare_prompts(records, tokenizer, template, settings, 8, directory=tmp_path / "kept")
    assert list(found.record_ids) == ["r0", "r1", "r2"]
    assert found.record_position.tolist() == [0, 1, 2]
    assert found.branches == 3
    for number, record in enumerate(records):
        branch = found.branch(number)
        asked = [message.as_dict() for message in record.messages if message.role == "user"]
        text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert tokenizer.decode(branch.input_ids.tolist()) == text
        assert branch.prompt_tokens == len(branch.input_ids)
        assert not branch.weights.any()
    in_memory = prepare_prompts(records, tokenizer, template, settings, 8)
    assert in_memory.fingerprint == found.fingerprint
    assert prepare_prompts(records, tokenizer, template, settings, 9).fingerprint != (
        found.fingerprint
    )


@pytest.mark.parametrize(
    ("overlong", "lengths", "reasons"),
    [
        ("drop", [], [OVERLONG, OVERLONG]),
        ("truncate_prompt_left", [8, 8], [PROMPT_CUT, PROMPT_CUT]),
        ("truncate_completion", [13], [COMPLETION_CUT, OVERLONG]),
    ],
)
def test_prompts_without_room_for_an_answer(tiny_folder, tmp_path, overlong, lengths, reasons):
    """Prompts of 13 and 19 tokens with answers of 8, where there is room for 16."""
    tokenizer = load_tokenizer(tiny_folder)
    template = ChatTemplate.load(tokenizer)
    records = list(read_records(write_prompts(tmp_path / "p.jsonl", records=2)))
    settings = SequencesSection(max_length=16, overlong=overlong)
    found = prepare_prompts(records, tokenizer, template, settings, 8)
    whole = prepare_prompts(records, tokenizer, template, SequencesSection(), 8)
    assert np.diff(whole.offsets).tolist() == [13, 19]
    assert np.diff(found.offsets).tolist() == lengths
    assert [drop.reason for drop in found.drops] == reasons
    for number in range(len(found)):
        kept = found.branch(number).input_ids
        assert kept.tolist() == whole.branch(number).input_ids[-len(kept) :].tolist()
    strict = SequencesSection(max_length=16, overlong="error")
    with pytest.raises(RecordError, match=r"record r0: The prompt and an answer"):
        prepare_prompts(records, tokenizer, template, strict, 8)


def test_plain_text_is_no_prompt(practice, tmp_path):
    (tmp_path / "book.txt").write_text("Iron is hot.", "utf-8")
    recipe = practice("grpo", data={"train": [str(tmp_path / "book.txt")]})
    with pytest.raises(RecordError, match="no question to be answered"):
        train(recipe, progress=False)


def test_a_prompt_that_fills_the_models_context_is_named(practice, tmp_path):
    rows = [{"id": "huge", "prompt": "iron " * 300, "completion": "no"}]
    (tmp_path / "huge.jsonl").write_text(json.dumps(rows[0]) + "\n")
    recipe = practice("grpo", data={"train": [str(tmp_path / "huge.jsonl")]})
    with pytest.raises(TrainingError, match=r"record huge: .*sequences\.max_length"):
        train(recipe, progress=False)


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"objective": {"name": "nll"}, "rollouts": {"group_size": 4}}, "rollouts does nothing"),
        ({"objective": {"name": "grpo"}, "rollouts": {"group_size": 1}}, "grpo compares answers"),
        (
            {"objective": {"name": "ppo"}, "rollouts": {"minibatches": 17}},
            "a step has only 16 records",
        ),
        (
            {"objective": {"name": "ppo"}, "tuning": {"lora_dropout": 0.1}},
            "lora_dropout does nothing with objective ppo",
        ),
        ({"objective": {"name": "grpo", "gae_lambda": 0.9}}, "gae_lambda does nothing"),
    ],
)
def test_settings_that_do_not_fit_are_refused(sections, problem):
    with pytest.raises(ValueError, match=problem):
        Recipe.model_validate({"name": "x", **sections})


def test_a_run_without_a_reward_does_not_begin(practice):
    recipe = practice("grpo", rollouts={"reward": None})
    with pytest.raises(RecipeError, match=r"rollouts\.reward: objective grpo needs to know"):
        train(recipe, progress=False)
    assert not (Path(recipe.runs_dir) / "run").exists()


@BOTH
def test_the_shipped_recipes_run_with_a_reward_model(tiny_recipe, tiny_folder, tmp_path, objective):
    from tests.training.test_stages import write_answers

    answers = str(write_answers(tmp_path / "answers.jsonl"))
    reward = train(
        tiny_recipe("reward", data={"train": [answers]}, objective={"name": "reward"}),
        progress=False,
    )
    settings = {
        "name": objective,
        "runs_dir": str(tmp_path / "runs"),
        "model.path": str(tiny_folder),
        "data.train": answers,
        "data.eval_share": 0.2,
        "rollouts.reward": str(reward.path),
        "rollouts.max_new_tokens": 6,
        "training.max_steps": 1,
        "training.device": "cpu",
        "samples.from_data": 0,
    }
    recipe = load_recipe(objective, [f"{key}={value}" for key, value in settings.items()])
    run = train(recipe, progress=False)
    [row] = rows_of(run.path)
    assert np.isfinite(row.metrics["reward"])
    assert row.metrics["reward_deviation"] > 0
    assert [row.step for row in rows_of(run.path, "eval")] == [0, 1]
    if objective == "ppo":
        critic = Readout.load(run.path / "adapter" / "critic")
        assert critic.info.names == ("value",)
        assert critic.linear.weight.abs().max() > 0


BRIEF = """
def brief(answer, record):
    return 1 - min(1, len(answer.split()) / 10)
"""
THINGS = (
    "iron", "gold", "water", "wood", "fire", "stone", "glass", "salt", "bread", "milk", "rain",
    "snow",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "group"), [("grpo", 4), ("ppo", 2)])
def test_the_built_in_model_learns_to_be_brief(tmp_path, objective, group):
    """Its answers of 12 tokens become a few words long, on prompts that it has not seen too.

    Measured: mean reward 0.08 before, 0.85 after three steps of grpo.
    """
    rows = [
        {"task_type": f"ask/{kind}", "prompt": asking.format(thing), "completion": "-"}
        for thing in THINGS
        for kind, asking in (("what", "What is {}?"), ("use", "Name one use of {}."))
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rules.py").write_text(BRIEF)
    settings = {
        "name": objective,
        "runs_dir": str(tmp_path / "runs"),
        "data.train": str(tmp_path / "p.jsonl"),
        "data.eval_share": 0.25,
        "rollouts.reward": f"{tmp_path / 'rules.py'}:brief",
        "rollouts.max_new_tokens": 12,
        "rollouts.group_size": group,
        "rollouts.minibatches": 1,
        "rollouts.epochs": 1 if objective == "grpo" else 2,
        "training.batch_records": 12 // group,
        "training.max_steps": 3,
        "training.learning_rate": 3e-3,
        "training.device": "cpu",
        "samples.from_data": 0,
    }
    recipe = load_recipe(objective, [f"{key}={value}" for key, value in settings.items()])
    run = train(recipe, progress=False)
    trained, evaluated = rows_of(run.path), rows_of(run.path, "eval")
    first, last = evaluated[0].metrics, evaluated[-1].metrics
    assert last["reward"] > first["reward"] + 0.3
    assert last["truncated"] < first["truncated"]
    assert max(row.metrics["kl"] for row in trained) < 25
    assert set(evaluated[-1].channels) == {"ask/what", "ask/use"}
