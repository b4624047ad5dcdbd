"""Every recipe of supervised tuning, reduced: as it ships, on a tiny model and a few records."""

from __future__ import annotations

import importlib.util

import pytest

from danlu.config import load_recipe, shipped_recipes
from danlu.runs import RunDirectory
from danlu.training.run import train
from tests.training.conftest import write_data

METHODS = [
    *("sft-lora", "sft-dora", "sft-rslora", "sft-pissa", "sft-lora-plus", "sft-qlora"),
    *("sft-adapter", "sft-ia3", "sft-prefix", "sft-prompt", "sft-ptuning"),
    *("sft-full", "sft-freeze"),
]


def test_every_method_has_a_recipe():
    assert set(METHODS) == {name for name in shipped_recipes() if name.startswith("sft-")}
    recipes = [load_recipe(name).tuning for name in METHODS]
    assert {tuning.method for tuning in recipes} == {
        *("lora", "qlora", "full", "ia3", "adapter", "prefix", "prompt", "ptuning")
    }
    options = [tuning.lora_options for tuning in recipes if tuning.lora_options]
    assert {name for one in options for name in one} == {
        *("use_dora", "use_rslora", "init_lora_weights")
    }
    assert any(tuning.lora_plus_ratio for tuning in recipes)
    assert any(tuning.layers for tuning in recipes)


def test_recipes_are_short_and_say_what_they_are_for():
    for name, path in shipped_recipes().items():
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) <= 32, name
        assert lines[0].startswith("# "), name
        assert any(f"danlu train {name} " in f"{line} " for line in lines[1:6]), name


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_trains(name, tiny_folder, tmp_path):
    if name == "sft-qlora" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed: pip install 'danlu[qlora]'")
    recipe = load_recipe(
        name,
        [
            f"model.path={tiny_folder}",
            f"runs_dir={tmp_path / 'runs'}",
            f"data.train={write_data(tmp_path / 'data.jsonl')}",
            "data.eval_share=0.2",
            "training.batch_records=4",
            "training.epochs=4",
            "training.device=cpu",
            "samples.from_data=0",
            # A tiny model has two layers.
            *(["tuning.layers=[-1]"] if name == "sft-freeze" else []),
        ],
    )
    run = train(recipe, progress=False)
    losses = [row.loss for row in RunDirectory.open(run.path).metrics() if row.split == "train"]
    assert len(losses) == 12
    assert sum(losses[-3:]) < sum(losses[:3])  # of an epoch, so of the same records
    saved = "model" if recipe.tuning.method == "full" else "adapter"
    assert (run.path / saved).is_dir()
    full = load_recipe("sft-full")
    assert (run.summary.trainable_parameters == run.summary.total_parameters) == (
        recipe.tuning == full.tuning
    )
