"""A tiny model folder and data, and a recipe that trains on them in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from danlu.config.recipe import Recipe

WORDS = [
    "furnace",
    "iron",
    "fire",
    "red",
    "hot",
    "name",
    "gold",
    "stone",
    "water",
    "wood",
    "metal",
    "earth",
]


def write_data(path: Path, records: int = 14) -> Path:
    """Conversations of one or two turns over three task types, of quite different lengths."""
    rows = []
    for i in range(records):
        words = [WORDS[(i * 5 + k) % len(WORDS)] for k in range(2 + i % 7)]
        messages = [
            {"role": "user", "content": f"Say {' '.join(words)}"},
            {"role": "assistant", "content": " ".join(reversed(words))},
        ]
        if i % 3 == 0:
            messages += [
                {"role": "user", "content": "丹炉？"},
                {"role": "assistant", "content": f"炉 {i}"},
            ]
        task_type = ("say/short", "say/long", "talk/turns")[i % 3]
        rows.append({"id": f"r{i}", "task_type": task_type, "messages": messages})
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A folder with a two-layer Llama and its tokenizer."""
    from tests.tiny_models import tiny_llama

    folder = tmp_path_factory.mktemp("tiny-model")
    tiny_llama(seed=3).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_recipe(tiny_folder: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Make a recipe; keyword arguments are sections that are merged over its own."""

    def make(name: str = "run", **sections: Any) -> Recipe:
        tree: dict[str, Any] = {
            "name": name,
            "runs_dir": str(tmp_path / "runs"),
            "model": {"path": str(tiny_folder)},
            "data": {"train": [str(write_data(tmp_path / "data.jsonl"))]},
            "tuning": {"method": "full"},
            "training": {
                "epochs": 2,
                "batch_records": 4,
                "pack_tokens": 64,
                "learning_rate": 1e-2,
                "device": "cpu",
            },
            "samples": {"from_data": 0},
        }
        for key, values in sections.items():
            own = tree.get(key)
            tree[key] = {**own, **values} if isinstance(own, dict) else values
        return Recipe.model_validate(tree)

    return make
