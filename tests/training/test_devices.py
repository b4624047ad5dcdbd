"""Strategies for several processes: whatever each of them holds, the result is that of one.

Real processes on the CPU, over gloo. Data and settings are chosen so that shares are unequal: 11
records in steps of 4 make an incomplete last step, packs are small, gradients are clipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.utils import gather_object
from safetensors.torch import load_file

from danlu.config.recipe import DevicesSection, Recipe
from danlu.errors import RecipeError
from danlu.models.load import load_model
from danlu.objectives import Nll
from danlu.runs import RunDirectory
from danlu.training.devices import chosen_strategy, describe_devices, make_accelerator, prepare
from danlu.training.run import train
from danlu.training.scoring import ScoringModel
from tests.processes import Apart, apart, train_apart
from tests.training.test_run import assert_same_weights, losses
from tests.training.test_stages import write_answers

ROOT = Path(__file__).parents[2]

TRAIN = """
import sys, yaml
from danlu.config.recipe import Recipe
from danlu.training.run import train
for file in sys.argv[1:]:
    train(Recipe.model_validate(yaml.safe_load(open(file))), progress=False)
"""


def tell_shares(strategy: str, folder: str) -> None:
    """Print how many numbers the model has, and how many of them each process holds."""
    recipe = Recipe(name="x", training={"device": "cpu"}, devices={"strategy": strategy})
    accelerator = make_accelerator(recipe, 2)
    model = load_model(folder)
    whole = sum(part.numel() for part in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters())
    prepare(ScoringModel(model, Nll(), 1), optimizer, accelerator)
    held = sum(
        getattr(part, "ds_tensor", getattr(part, "_local_tensor", part)).numel()
        for part in model.parameters()
    )
    shares = gather_object([held])
    if accelerator.is_main_process:
        sys.stdout.write(f"shares: {json.dumps([whole, *shares])}\n")


needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="deepspeed is not installed: pip install 'danlu[deepspeed]'",
)
FSDP2 = pytest.param("fsdp2")
ZERO = [pytest.param(f"zero{stage}", marks=needs_deepspeed) for stage in (1, 2, 3)]

STAGES: dict[str, dict[str, Any]] = {
    "full": {"training": {"weight_decay": 0.1}},
    "lora": {"tuning": {"method": "lora"}, "model": {"new_tokens": ["<炉>"]}},
    "checkpointing": {"training": {"gradient_checkpointing": True}, "model": {"attention": "rows"}},
    "dpo": {
        "objective": {"name": "dpo", "reference": "adapter_off"},
        "tuning": {"method": "lora"},
    },
    "reward": {"objective": {"name": "reward"}},
}

Make = Callable[..., Recipe]


def train_all(recipes: Sequence[Recipe]) -> None:
    """Train one after another in the same processes."""
    for recipe in recipes:
        train(recipe, progress=False)


@pytest.fixture
def make(tiny_recipe: Make, tmp_path: Path) -> Make:
    """Make a recipe of one of ``STAGES``."""

    def recipe(stage: str, name: str, **sections: Any) -> Recipe:
        tree: dict[str, Any] = {
            "data": {"eval_share": 0.2},
            "training": {"pack_tokens": 40},
            "samples": {"from_data": 1, "max_new_tokens": 4},
        }
        if "objective" in STAGES[stage]:
            tree["data"]["train"] = [str(write_answers(tmp_path / "answers.jsonl"))]
            tree["training"]["learning_rate"] = 3e-3
        for more in (STAGES[stage], sections):
            for key, values in more.items():
                tree[key] = {**tree.get(key, {}), **values}
        return tiny_recipe(name, **tree)

    return recipe


def launch(*recipes: Recipe) -> subprocess.Popen[bytes]:
    """Train one recipe after another, in two processes that torchrun starts."""
    folder = Path(recipes[0].runs_dir).parent
    file = folder / "train.py"
    file.write_text(TRAIN)
    names = []
    for recipe in recipes:
        names.append(str(folder / f"{recipe.name}.yaml"))
        Path(names[-1]).write_text(yaml.safe_dump(recipe.model_dump(exclude_unset=True)))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    # No GPU: DeepSpeed would take it.
    more = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *torchrun, str(file), *names],
            env={**os.environ, **more},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.log = folder / "log.txt"
    return process


def finish(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=280)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, process.log.read_text()


def run_of(recipe: Recipe) -> Path:
    return Path(recipe.runs_dir) / recipe.name


def assert_same_run(one: Path, other: Path) -> None:
    """The same losses and gradient norms, the same saved weights and answers, to rounding."""
    rows, others = (list(RunDirectory.open(run).metrics()) for run in (one, other))
    assert [(row.step, row.split) for row in rows] == [(row.step, row.split) for row in others]
    for row, like in zip(rows, others, strict=True):
        assert row.loss == pytest.approx(like.loss, rel=1e-4)
        assert row.supervised_tokens == like.supervised_tokens
        if row.grad_norm is not None:
            assert row.grad_norm == pytest.approx(like.grad_norm, rel=1e-3)
    assert_same_weights(one, other, atol=5e-4)
    samples, like_samples = (RunDirectory.open(run).samples() for run in (one, other))
    assert samples == like_samples
    heads = [path.relative_to(one) for path in one.glob("*/readout.safetensors")]
    for head in heads:
        for name, tensor in load_file(one / head).items():
            torch.testing.assert_close(tensor, load_file(other / head)[name], atol=5e-4, rtol=0)


def test_fsdp2_changes_nothing(make):
    once = {"training": {"epochs": 1}}
    recipes = [make(k, f"fsdp2-{k}", devices={"strategy": "fsdp2"}, **once) for k in STAGES]
    process = launch(*recipes)
    runs = [train(make(k, f"alone-{k}", **once), progress=False).path for k in STAGES]  # meanwhile
    finish(process)
    for recipe, alone in zip(recipes, runs, strict=True):
        assert_same_run(run_of(recipe), alone)
        clipped = [row.grad_norm for row in RunDirectory.open(alone).metrics() if row.grad_norm]
        assert len(clipped) == 3
        assert max(clipped) > 1


@pytest.mark.parametrize("stage", ["full", "dpo", "reward"])
@pytest.mark.parametrize("strategy", ZERO)
def test_zero_changes_nothing(make, strategy, stage):
    train(make(stage, "alone"), progress=False)
    recipe = make(stage, strategy, devices={"strategy": strategy})
    train_apart(recipe, processes=2).finish()
    assert_same_run(run_of(recipe), run_of(recipe).with_name("alone"))


def test_fsdp2_computes_in_bfloat16(make):
    """Weights are gathered in 16 bits and saved in 32; a readout is not rounded.

    Of its two parameters, weight and bias of one number, the second process holds nothing.
    """
    sections = {"model": {"precision": "bfloat16"}}
    train(make("reward", "alone", **sections), progress=False)
    recipe = make("reward", "two", devices={"strategy": "fsdp2"}, **sections)
    train_apart(recipe, processes=2).finish()
    two, alone = run_of(recipe), run_of(recipe).with_name("alone")
    assert losses(two) == pytest.approx(losses(alone), abs=0.1)
    saved = load_file(two / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in saved.values())


@pytest.mark.parametrize("strategy", [FSDP2, ZERO[2]])
def test_each_process_holds_its_share_of_the_weights(tiny_folder, tmp_path, strategy):
    log = tmp_path / "log.txt"
    process = apart(tell_shares, strategy, str(tiny_folder), log=log, processes=2)
    process.finish()
    [told] = re.findall("shares: (.*)", log.read_text())
    whole, *shares = json.loads(told)
    assert sum(shares) >= whole
    assert max(shares) < 0.52 * whole  # a little more than half: shares are filled up


TOGETHER = {**STAGES, "checkpointing": {"training": {"gradient_checkpointing": True}}}


@pytest.mark.parametrize(("strategy", "processes"), [("ddp", 2), ("fsdp2", 4)])
def test_packs_computed_together_change_nothing(make, monkeypatch, strategy, processes):
    """Two processes to a pack: chains, shared prompts, pairs, lists; with a kto baseline too."""
    for stage, sections in TOGETHER.items():
        monkeypatch.setitem(STAGES, stage, sections)
    monkeypatch.setitem(STAGES, "kto", {"objective": {"name": "kto"}})
    devices = {"strategy": strategy, "context_parallel": 2}
    recipes = []
    for stage in STAGES if processes == 2 else ("lora", "dpo"):
        train(make(stage, f"alone-{stage}"), progress=False)
        recipes.append(make(stage, f"together-{stage}", devices=devices))
    log = Path(recipes[0].runs_dir).parent / "log.txt"
    apart(train_all, recipes, log=log, processes=processes).finish()
    for recipe in recipes:
        run = run_of(recipe)
        assert_same_run(run, run.with_name(run.name.replace("together", "alone")))


def wait_for_step(run: Path, step: int, process: Apart) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        kept = [int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*")]
        if kept and max(kept) >= step:
            return
        process.check_running()
        time.sleep(0.01)
    raise AssertionError(f"{run} never came to step {step}")


LONG = {"training": {"epochs": 20}, "checkpoints": {"every_steps": 4}}


@pytest.mark.parametrize(("strategy", "killed"), [("ddp", 0), ("fsdp2", 1), (*ZERO[1].values, 1)])
def test_one_of_two_processes_killed_and_resumed_loses_nothing(make, strategy, killed):
    if strategy.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install 'danlu[deepspeed]'")
    train(make("full", "alone", **LONG), progress=False)
    recipe = make("full", "killed", devices={"strategy": strategy}, **LONG)
    run = run_of(recipe)
    process = train_apart(recipe, processes=2)
    wait_for_step(run, 12, process)
    process.kill(killed)
    assert process.wait()[killed] == -signal.SIGKILL
    reached = max(row.step for row in RunDirectory.open(run).metrics())
    assert 12 <= reached < 60
    train_apart(recipe, processes=2, resume=True).finish()
    assert_same_run(run, run.with_name("alone"))


@pytest.mark.parametrize("strategy", [FSDP2, ZERO[1], ZERO[2]])
def test_a_run_goes_on_with_another_number_of_processes(make, strategy):
    """Begun in one process, gone on with in two, ended in one."""
    alone = train(make("lora", "alone", **LONG), progress=False)
    recipe = make("lora", "moved", devices={"strategy": strategy}, **LONG)
    run = run_of(recipe)
    for step, processes in ((4, 1), (20, 2)):
        process = train_apart(recipe, processes=processes, resume=step > 4)
        wait_for_step(run, step, process)
        for number in range(processes):
            process.kill(number)
        assert set(process.wait()) == {-signal.SIGKILL}
    train_apart(recipe, resume=True).finish()
    assert_same_run(run, alone.path)


def test_one_process_trains_as_ever_and_says_so(make):
    recipe = make("full", "one", devices={"strategy": "zero2"})
    [said] = describe_devices(recipe, make_accelerator(recipe, 1))
    assert "one process" in said
    assert "zero2" in said
    assert "danlu launch" in said
    one = train(recipe, progress=False)
    assert_same_weights(one.path, train(make("full", "plain"), progress=False).path)
    plain = make("full", "plain")
    assert describe_devices(plain, make_accelerator(plain, 1)) == []


def test_the_strategy_that_takes_effect():
    def chosen(strategy: str, processes: int, offload: str = "none") -> str:
        devices = {"strategy": strategy, "offload": offload}
        return chosen_strategy(Recipe(name="x", devices=devices), processes)

    assert [chosen("auto", count) for count in (1, 2)] == ["none", "ddp"]
    assert [chosen("zero3", count) for count in (1, 2)] == ["none", "zero3"]
    assert chosen("zero3", 1, "all") == "zero3"


@pytest.mark.parametrize(
    ("strategy", "offload", "remedy"),
    [
        ("auto", "optimizer", "use strategy zero1 or zero2 or zero3"),
        ("ddp", "all", "use strategy zero3 or fsdp2"),
        ("fsdp2", "optimizer", "takes none or all"),
        ("zero2", "all", "takes none or optimizer"),
    ],
)
def test_an_offload_that_does_not_go_with_the_strategy_is_refused(strategy, offload, remedy):
    with pytest.raises(ValueError, match=f"offload {offload} does not go with.*{remedy}"):
        DevicesSection(strategy=strategy, offload=offload)


@pytest.mark.parametrize(
    ("sections", "where", "text"),
    [
        ({"tuning": {"method": "qlora"}}, "devices.strategy", "ddp or zero2"),
        ({"devices": {"offload": "all"}}, "devices.offload", "set none"),
    ],
)
def test_what_cannot_work_with_a_strategy_is_refused(sections, where, text, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tree = {"name": "x", "training": {"device": "cpu"}, **sections}
    tree["devices"] = {"strategy": "fsdp2", **tree.get("devices", {})}
    with pytest.raises(RecipeError, match=text) as caught:
        make_accelerator(Recipe.model_validate(tree), 2)
    assert caught.value.where == where


def test_mixed_precision_keeps_no_copies_of_weights():
    """Those would stay until a pack's end, also where activations are made anew."""
    recipe = Recipe(name="x", model={"precision": "bfloat16"}, training={"device": "cpu"})
    accelerator = make_accelerator(recipe, 1)
    with accelerator.autocast():
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_autocast_cache_enabled()


@pytest.mark.parametrize(
    ("processes", "sections", "text"),
    [
        (3, {}, "2 processes are to compute a pack together, and 3 were launched"),
        (2, {"tuning": {"method": "prompt"}}, "puts tokens before every sequence"),
    ],
)
def test_packs_that_cannot_be_computed_together_are_refused(processes, sections, text):
    sections = {"training": {"device": "cpu"}, "devices": {"context_parallel": 2}, **sections}
    with pytest.raises(RecipeError, match=rf"devices\.context_parallel.*{text}"):
        make_accelerator(Recipe(name="x", **sections), processes)


def test_a_gpu_that_would_be_taken_anyway_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    recipe = Recipe(name="x", training={"device": "cpu"}, devices={"strategy": "fsdp2"})
    with pytest.raises(RecipeError, match="CUDA_VISIBLE_DEVICES"):
        make_accelerator(recipe, 2)


def test_deepspeed_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    recipe = Recipe(name="x", training={"device": "cpu"}, devices={"strategy": "zero2"})
    with pytest.raises(RecipeError, match=r"pip install 'danlu\[deepspeed\]', or use fsdp2"):
        make_accelerator(recipe, 2)
