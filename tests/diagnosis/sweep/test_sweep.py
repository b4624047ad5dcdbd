"""Trials of a tiny model: trained once, compared, resumed; parts that are nested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from danlu.cli.main import app
from danlu.config import load_recipe, recipe_text
from danlu.config.recipe import Recipe
from danlu.diagnosis.sweep.grid import grid, values_of
from danlu.diagnosis.sweep.scaling import lines_of, scaling_trials, shares_of, write_parts
from danlu.diagnosis.sweep.trials import is_done, run_trials
from danlu.diagnosis.sweep.written import says_of, scale, write_sweep
from danlu.errors import RecipeError
from danlu.records import read_records
from tests.tiny_models import tiny_llama
from tests.training.conftest import write_data


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A two-layer Llama with its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-model")
    tiny_llama(seed=3).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def written(tiny_folder: Path, tmp_path: Path) -> Path:
    """A recipe file that trains a tiny model in a second."""
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "model": {"path": str(tiny_folder)},
            "data": {"train": [str(write_data(tmp_path / "data.jsonl", 30))], "eval_share": 0.2},
            "tuning": {"method": "lora", "lora_rank": 2},
            "training": {"epochs": 1, "batch_records": 8, "pack_tokens": 64, "device": "cpu"},
            "samples": {"from_data": 0},
        }
    )
    path = tmp_path / "tiny.yaml"
    path.write_text(recipe_text(recipe), "utf-8")
    return path


def test_a_sweep_is_trained_once_and_its_best_recipe_loads(written: Path, tmp_path: Path):
    folder = tmp_path / "sweep"
    rates = ["training.learning_rate=1e-6,3e-2"]
    ran = run_trials(grid(written, rates, folder), progress=False)
    assert [one.trial.label for one in ran.scores] == [
        {"training.learning_rate": "1e-6"},
        {"training.learning_rate": "3e-2"},
    ]
    assert ran.best is ran.scores[1]  # at 1e-6 nothing is learned
    assert ran.scores[0].curve[0] == ran.scores[1].curve[0]  # the same model on the same records
    found = write_sweep(folder, ran)
    assert json.loads((folder / "sweep.json").read_text("utf-8")) == found
    assert load_recipe(folder / "best.yaml").training.learning_rate == 3e-2
    page = (folder / "sweep.html").read_text("utf-8")
    assert "learning_rate=3e-2" in page
    assert page.count("<polyline") == 2

    before = {
        one.trial.run: (one.trial.run / "summary.json").stat().st_mtime_ns for one in ran.scores
    }
    more = grid(written, ["training.learning_rate=1e-6,3e-2,1e-2"], folder)
    assert [is_done(one) for one in more] == [True, True, False]
    told: list[str] = []
    again = run_trials(more, minutes=0, told=told.append, progress=False)
    assert [one.loss for one in again.scores] == [one.loss for one in ran.scores]
    assert [one.label for one in again.left] == [{"training.learning_rate": "1e-2"}]
    assert all((run / "summary.json").stat().st_mtime_ns == t for run, t in before.items())
    assert all("known" in line for line in told)
    changed = grid(written, rates, folder, ["training.seed=7"])
    assert not any(map(is_done, changed))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["training.epochs=1"], "nothing varies"),
        (["training.epochs=1,"], "no setting with values"),
        (["training.epochs=1,1"], "a value twice"),
        (["training.epochs=1,2", "training.epochs=3"], "given twice"),
        (["training.epochs=1,2,3,4,5,6,7,8,9", "training.seed=1,2,3,4,5,6,7,8"], "72 runs"),
        (["training.epoch=1,2"], "epochs"),
    ],
)
def test_bad_grids(written: Path, tmp_path: Path, given: list[str], says: str):
    with pytest.raises(RecipeError, match=says):
        grid(written, given, tmp_path)


def test_values_may_have_commas_of_their_own():
    assert values_of("a.b={x: 1, y: 2},'p,q'") == ("a.b", ["{x: 1, y: 2}", "'p,q'"])


def test_nothing_is_compared_without_held_out_records(written: Path, tmp_path: Path):
    trials = grid(written, ["training.epochs=1,2"], tmp_path, ["data.eval_share=0"])
    with pytest.raises(RecipeError, match="nothing is held out"):
        run_trials(trials)


def test_parts_are_nested_and_share_what_is_held_out(written: Path, tmp_path: Path):
    recipe = load_recipe(written)
    parts = write_parts(recipe, (0.25, 0.5, 1.0), tmp_path / "parts")
    ids = [
        {one.id for one in read_records(str(tmp_path / f"parts/share-{share:g}.jsonl"))}
        for share in parts.shares
    ]
    held_out = {one.id for one in parts.held_out}
    assert ids[0] < ids[1] < ids[2]
    assert not ids[2] & held_out
    assert len(ids[2] | held_out) == 30
    assert parts.types == dict.fromkeys(parts.types, (2, 4, 8))  # 10 of each type, 2 held out
    assert parts.records == tuple(map(len, ids)) == (6, 12, 24)
    trials = scaling_trials(recipe, parts, tmp_path, seeds=2)
    assert [one.recipe.training.seed for one in trials] == [42, 43] * 3
    with pytest.raises(RecipeError, match="too few"):
        write_parts(load_recipe(written, ["data.train[0].limit=1"]), (0.5, 1.0), tmp_path / "few")


@pytest.mark.parametrize("given", ["0.1", "0.1,0.1", "0,1", "0.5,2", "a,b"])
def test_bad_shares(given: str):
    with pytest.raises(RecipeError, match="shares"):
        shares_of(given)


def test_scaling_of_a_tiny_model(written: Path, tmp_path: Path):
    recipe = load_recipe(written, ["data.eval_share=0.3", "training.learning_rate=1e-2"])
    lines = scale(recipe, (0.3, 1.0), tmp_path / "scaling", progress=False, device="cpu")
    assert [one.name for one in lines] == ["all"]  # three held out of each type are too few
    assert lines[0].records == (9, 21)
    assert lines[0].losses[1] < lines[0].losses[0]
    rows = json.loads((tmp_path / "scaling/scaling.json").read_text("utf-8"))
    assert rows[0]["losses"] == list(lines[0].losses)
    page = (tmp_path / "scaling/scaling.html").read_text("utf-8")
    assert "twice as many" in page
    assert says_of(lines).startswith(("More of this data", "Whether more"))


def test_task_types_with_enough_held_out_records_have_a_line_of_their_own(tmp_path, written):
    parts = write_parts(load_recipe(written), (0.25, 0.5, 1.0), tmp_path / "parts")
    types = ["say/short"] * 6 + ["say/long"] * 2
    nats = np.outer([3.0, 2.0, 1.0], np.ones(8))
    lines = lines_of(parts, types, nats, np.ones(8))
    assert [one.name for one in lines] == ["all", "say/short"]
    assert lines[1].losses == (3.0, 2.0, 1.0)
    assert lines[1].held_out == 6


def test_the_command_line_says_what_is_wrong(written: Path, tmp_path: Path):
    result = CliRunner().invoke(
        app, ["sweep", str(written), "training.epochs=1", "-o", str(tmp_path)]
    )
    assert isinstance(result.exception, RecipeError)
    result = CliRunner().invoke(app, ["scaling", str(written), "--shares", "2"])
    assert isinstance(result.exception, RecipeError)
