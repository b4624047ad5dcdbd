"""A form is a recipe: every shipped one goes through it and comes back the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.config import Recipe, describe, load_recipe, shipped_recipes
from danlu.config.load import make_recipe
from danlu.config.strict_yaml import read_yaml
from danlu.studio.recipe_form import FIRST, check, sections, values_of, values_of_yaml
from danlu.studio.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_every_setting_has_a_field_once() -> None:
    paths = [field.path for fields in sections().values() for field in fields]
    assert sorted(paths) == sorted(row.path for row in describe() if "[" not in row.path)
    assert set(FIRST) <= set(paths)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_goes_through_the_form(name: str, workspace: Workspace) -> None:
    recipe = load_recipe(name)
    checked = check(values_of(recipe), workspace)
    assert checked.problems == ()
    assert checked.recipe == recipe
    assert values_of_yaml(checked.yaml) == values_of(recipe)


def test_fields_are_read_as_the_recipe_reads_them(workspace: Workspace) -> None:
    values = {
        "name": "2024",
        "data.train": "a.jsonl\r\n\r\ndata/*.jsonl\r\n",
        "data.mix.targets": "open:domain: 1:3\ngeneral: 0.2",
        "tuning.lora_targets": "all-linear",
        "tuning.layers": "-1\n3",
        "training.learning_rate": "2e-4",
        "model.trust_remote_code": "true",
        "model.template": "null",
        "samples.prompts": '- "Who: are you?"',
        "no.such": "1",
    }
    checked = check(values, workspace)
    assert checked.problems == ()
    recipe = make_recipe(read_yaml(checked.yaml, "yaml").value)
    assert recipe == checked.recipe
    assert recipe.name == "2024"
    assert [one.path for one in recipe.data.train] == ["a.jsonl", "data/*.jsonl"]
    assert recipe.data.mix.targets == {"open:domain": "1:3", "general": 0.2}
    assert recipe.tuning.lora_targets == "all-linear"
    assert recipe.tuning.layers == [-1, 3]
    assert recipe.training.learning_rate == 2e-4
    assert recipe.samples.prompts == ["Who: are you?"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("training.epochs", "-1"),
        ("training.learning_rate", "fast"),
        ("data.mix.targets", "{a: "),
        ("name", "../elsewhere"),
        ("name", ".hidden"),
        ("runs_dir", "/tmp"),
        ("tuning.quantisation", "nf5"),
    ],
)
def test_a_problem_names_its_field(path: str, text: str, workspace: Workspace) -> None:
    checked = check({"name": "mine", path: text}, workspace)
    assert checked.recipe is None
    assert path in {name for name, _ in checked.problems}


def test_runs_are_made_where_the_studio_looks(tmp_path: Path) -> None:
    checked = check({"name": "mine"}, Workspace(tmp_path, ["other"]))
    assert checked.recipe == Recipe(name="mine", runs_dir="other")
