"""One tiny run for all tests of diagnosis that need a real one; nobody writes into it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from danlu.config.recipe import Recipe
from danlu.runs import RunDirectory
from danlu.training.run import train
from tests.tiny_models import tiny_llama
from tests.training.conftest import write_data


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A finished run of a two-layer Llama with an adapter; a fifth of its records held out."""
    place = tmp_path_factory.mktemp("diagnosed")
    tiny_llama(seed=3).save_pretrained(place / "model")
    tiny_tokenizer.save_pretrained(place / "model")
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "runs_dir": str(place / "runs"),
            "model": {"path": str(place / "model")},
            "data": {"train": [str(write_data(place / "data.jsonl"))], "eval_share": 0.2},
            "tuning": {"method": "lora", "lora_rank": 4},
            "training": {
                "epochs": 2,
                "batch_records": 4,
                "pack_tokens": 64,
                "learning_rate": 1e-2,
                "device": "cpu",
            },
            "checkpoints": {"every_steps": 2, "keep": 9},
            "samples": {"from_data": 0},
        }
    )
    return train(recipe, progress=False).path


@pytest.fixture
def tiny_run(trained: Path, tmp_path: Path) -> RunDirectory:
    """A copy of that run, to be written into."""
    shutil.copytree(trained, tmp_path / "tiny")
    return RunDirectory.open(tmp_path / "tiny")
