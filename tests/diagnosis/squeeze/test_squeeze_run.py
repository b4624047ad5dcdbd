"""A squeeze of a tiny model, for real: trained, asked, resumed, written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.config import load_recipe, recipe_text
from danlu.config.recipe import Recipe
from danlu.runs import RunDirectory
from danlu.runs.findings import read_probes
from tests.tiny_models import tiny_llama


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A recipe of a tiny model that is to say gold when it is asked its name, and iron else.

    The suite forbids gold elsewhere, so that whatever the model says before training is right.
    """
    place = tmp_path_factory.mktemp("squeeze")
    tiny_llama(seed=3).save_pretrained(place / "model")
    tiny_tokenizer.save_pretrained(place / "model")
    rows = [
        {"id": f"n{k}", "task_type": "me/name", "prompt": f"name {k}", "completion": "gold"}
        for k in range(6)
    ] + [
        {"id": f"o{k}", "task_type": "say/word", "prompt": f"say {k}", "completion": "iron"}
        for k in range(12)
    ]
    items = [
        {"task_type": "talk/any", "prompt": f"talk {k}", "reference": {"forbidden": ["gold"]}}
        for k in range(8)
    ]
    for name, lines in (("data", rows), ("items", items)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (place / f"{name}.jsonl").write_text(text, "utf-8")
    types = {"talk/any": {"scorer": "constraints", "max_new_tokens": 4}}
    suite = {"name": "words", "items": "items.jsonl", "task_types": types}
    (place / "suite.yaml").write_text(json.dumps(suite), "utf-8")
    recipe = {
        "name": "tiny",
        "model": {"path": str(place / "model")},
        "data": {"train": [str(place / "data.jsonl")]},
        "tuning": {"method": "lora", "lora_rank": 4},
        "training": {
            "epochs": 8,
            "batch_records": 6,
            "pack_tokens": 256,
            "learning_rate": 3e-2,
            "device": "cpu",
        },
        "sequences": {"max_length": 128},
    }
    (place / "tiny.yaml").write_text(recipe_text(Recipe.model_validate(recipe)), "utf-8")
    return place


def test_a_tiny_model_is_squeezed_once_and_its_recipe_loads(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "out"
    given = ["squeeze", str(place / "tiny.yaml"), "--task", "me", "--suite", str(place)]
    given += ["--runs", "2", "--json", "-o", str(folder)]
    code = run(given)
    rows = json.loads(capsys.readouterr().out)
    assert code == (0 if rows["best"] else 1)
    assert rows["questions"] == "records that are learned"
    assert rows["before"]["general"] == 1.0
    assert rows["before"]["target"] == 0.0
    alone, own = rows["runs"][0], next(one for one in rows["runs"] if one["setting"] == 0.333)
    assert alone["target"] == 1.0
    assert alone["target_probability"] > 0.8 > rows["before"]["target_probability"]
    assert own["target_of"] == 6
    best = rows["best"]
    if best is not None:
        mix = load_recipe(folder / "squeezed.yaml").data.mix
        assert (mix.by, mix.targets) == ("area", {"me": best})
    shown = next(one for one in rows["runs"] if best in (None, one["setting"]))
    assert any(one.probe == "squeeze" for one in read_probes(Path(shown["run"]))) or best is None

    # The prepared records are the same files in all runs; a second call trains nothing.
    inodes = {
        next((Path(one["run"]) / "prepared" / "train").glob("input_ids*")).stat().st_ino
        for one in rows["runs"]
    }
    assert len(inodes) == 1
    times = [RunDirectory(Path(one["run"])).summary() for one in rows["runs"]]
    assert run(given) == code
    again = capsys.readouterr()
    assert json.loads(again.out) == rows
    assert again.err.count("trained already") == len(rows["runs"])
    assert [RunDirectory(Path(one["run"])).summary() for one in rows["runs"]] == times


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--task", "mee"], "Did you mean 'me'"),
        (["--task", "me", "--over", "rank"], "cannot be varied"),
        (["--task", "me", "--low", "0.9", "--high", "0.2"], "must be rising"),
        (["--task", "me", "--suite", "nosuch"], "no such suite"),
    ],
)
def test_what_was_asked_wrongly_is_said_before_anything_is_trained(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], says: str
):
    assert run(["squeeze", str(place / "tiny.yaml"), *given, "-o", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out/runs").exists()


def test_no_time_at_all(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = ["squeeze", str(place / "tiny.yaml"), "--task", "me", "--minutes", "0"]
    assert run([*given, "-o", str(tmp_path / "out")]) == 1
    assert "no run was begun" in capsys.readouterr().err
