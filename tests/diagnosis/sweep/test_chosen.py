"""What Optuna chooses: from ranges, the same again, and better than at random."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.config import recipe_text
from danlu.config.recipe import Recipe
from danlu.diagnosis.sweep import chosen
from danlu.diagnosis.sweep.chosen import Range, range_of, run_chosen
from danlu.diagnosis.sweep.grid import grid
from danlu.diagnosis.sweep.trials import Pace, Score, Trial
from danlu.errors import RecipeError

RATE, RANK = "training.learning_rate", "tuning.lora_rank"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    tree = {"name": "mine", "data": {"train": ["x.jsonl"], "eval_share": 0.1}}
    path = tmp_path / "mine.yaml"
    path.write_text(recipe_text(Recipe.model_validate(tree)), "utf-8")
    return path


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is trained: the loss is how far the learning rate is from 1e-3, in decades."""
    names: list[str] = []

    def scored(trial: Trial, pace: Pace, place: str, **_: Any) -> Score | None:
        if not pace.allows_another():
            return None
        names.append(trial.recipe.name)
        loss = abs(math.log10(trial.recipe.training.learning_rate) + 3)
        return Score(trial, loss, 1, {}, ((0, 1.0),), 0.0)

    monkeypatch.setattr(chosen, "run_trial", scored)
    return names


def test_settings_come_from_ranges_and_lists(written, tmp_path, untrained):
    given = [f"{RATE}=1e-6..1e-1", f"{RANK}=4..64", "tuning.method=lora,qlora", "training.seed=7"]
    ran = run_chosen(written, given, tmp_path / "out", 24)
    assert ran.best is not None
    assert ran.best.loss < 0.2
    recipes = [one.trial.recipe for one in ran.scores]
    assert {one.training.seed for one in recipes} == {7}
    assert {one.tuning.method for one in recipes} == {"lora", "qlora"}
    assert all(1e-6 <= one.training.learning_rate <= 1e-1 for one in recipes)
    assert all(4 <= one.tuning.lora_rank <= 64 for one in recipes)
    assert len({one.tuning.lora_rank for one in recipes}) > 5
    assert ran.scores[0].trial.label.keys() == {RATE, RANK, "tuning.method"}


def test_a_longer_sweep_begins_with_a_shorter_one(written, tmp_path, untrained):
    given = [f"{RATE}=1e-6..1e-1", f"{RANK}=8,32"]
    run_chosen(written, given, tmp_path, 7)
    short = list(untrained)
    untrained.clear()
    run_chosen(written, given, tmp_path, 11)
    assert untrained[:7] == short
    untrained.clear()
    ran = run_chosen(written, given, tmp_path, 11, minutes=0)
    assert (untrained, len(ran.left)) == ([], 1)


def test_what_is_proposed_twice_stands_once(written, tmp_path, untrained):
    ran = run_chosen(written, [f"{RANK}=8,32"], tmp_path, 6)
    assert len(untrained) == 6
    assert sorted(one.trial.label[RANK] for one in ran.scores) == ["32", "8"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1e-5..1e-3", Range(1e-5, 1e-3, whole=False)),
        ("0.1..0.5", Range(0.1, 0.5, whole=False)),
        ("-1..3", Range(-1, 3, whole=True)),
        ("../data.jsonl", None),
        ("8", None),
    ],
)
def test_ranges(value: str, found: Range | None):
    assert range_of(value, RATE) == found
    if found is not None:
        assert found.by_ratio == (value == "1e-5..1e-3")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([f"{RATE}=1e-3..1e-5"], "is no range"),
        ([f"{RATE}=1.1.1..2"], "is no range"),
        ([f"{RATE}=1e-5..1e-3,1e-2"], "one range, or several values"),
        ([f"{RATE}=1e-3"], "nothing varies"),
        ([f"{RATE}=1e-4,1e-3", f"{RATE}=1"], "given twice"),
        ([f"{RATE}=1e-5..1e-3", "data.eval_share=0"], "nothing is held out"),
    ],
)
def test_bad_settings(written, tmp_path, untrained, given, says):
    with pytest.raises(RecipeError, match=says):
        run_chosen(written, given, tmp_path, 3)
    assert not untrained


def test_a_grid_has_no_ranges(written, tmp_path):
    with pytest.raises(RecipeError, match="--optuna 20"):
        grid(written, [f"{RATE}=1e-5..1e-3"], tmp_path)


def test_without_optuna_it_says_how_to_get_it(written, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    given = ["sweep", str(written), f"{RATE}=1e-5..1e-3", "--optuna", "2", "-o", str(tmp_path)]
    assert run(given) == 2
    assert "pip install 'danlu[optuna]'" in capsys.readouterr().err
