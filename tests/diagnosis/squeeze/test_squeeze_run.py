"""A squeeze of a tiny model, for real: trained, asked, resumed, written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from danlu.cli.main import app
from danlu.config import load_recipe, recipe_text
from danlu.config.recipe import Recipe
from danlu.runs.findings import read_probes
from tests.tiny_models import tiny_llama


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A recipe file: a tiny model that is to say its name, among other records."""
    place = tmp_path_factory.mktemp("squeeze")
    tiny_llama(seed=3).save_pretrained(place / "model")
    tiny_tokenizer.save_pretrained(place / "model")
    rows = [
        {"id": f"n{k}", "task_type": "me/name", "prompt": f"name {k}", "completion": "gold"}
        for k in range(6)
    ]
    rows += [
        {"id": f"o{k}", "task_type": "say/word", "prompt": f"say {k}", "completion": "iron"}
        for k in range(12)
    ]
    data = place / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    # Whatever it says before training is right: so that something can be forgotten.
    suite = {
        "name": "words",
        "items": "items.jsonl",
        "task_types": {"talk/any": {"scorer": "constraints", "max_new_tokens": 4}},
    }
    (place / "suite.yaml").write_text(json.dumps(suite), "utf-8")
    items = [
        {
            "id": f"i{k}",
            "task_type": "talk/any",
            "prompt": f"talk {k}",
            "reference": {"forbidden": ["gold"]},
        }
        for k in range(8)
    ]
    (place / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items), "utf-8")
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "model": {"path": str(place / "model")},
            "data": {"train": [str(data)]},
            "tuning": {"method": "lora", "lora_rank": 4},
            "training": {
                "epochs": 4,
                "batch_records": 6,
                "pack_tokens": 64,
                "learning_rate": 2e-2,
                "device": "cpu",
            },
        }
    )
    (place / "tiny.yaml").write_text(recipe_text(recipe), "utf-8")
    return place


def test_a_tiny_model_is_squeezed_and_the_recipe_loads(written: Path, tmp_path: Path):
    folder = tmp_path / "out"
    given = ["squeeze", str(written / "tiny.yaml"), "--task", "me", "--suite", str(written)]
    given += ["--runs", "3", "-o", str(folder)]
    result = CliRunner().invoke(app, given)
    print(result.output, result.exception)
    assert result.exit_code in (0, 1)
