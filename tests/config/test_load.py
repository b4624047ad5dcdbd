"""Recipes: read, overridden, checked, saved; and every mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.config import (
    Recipe,
    load_recipe,
    make_recipe,
    recipe_summary,
    recipe_text,
    resolved_recipe,
    save_recipe,
    shipped_recipes,
)
from danlu.errors import RecipeError


def write(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_and_say_what_they_are(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe_summary(shipped_recipes()[name])
    assert len(shipped_recipes()[name].read_text(encoding="utf-8").splitlines()) <= 40


def test_no_recipe_is_shipped_untested() -> None:
    """Each is run in a reduced form, here or by the quickstart's own tests."""
    folder = Path(__file__).parents[1] / "training"
    told = "".join(file.read_text("utf-8") for file in sorted(folder.glob("test_*.py")))
    for name in set(shipped_recipes()) - {"quickstart"}:
        assert f'"{name}"' in told, name


def test_overrides() -> None:
    recipe = load_recipe(
        "sft-lora",
        [
            "training.epochs=1",
            "data.train=[a.jsonl, {path: b.csv, limit: 3}]",
            "data.train[1].limit=4",
            "data.train.0.task_type=a/b",
            "model.template=",
            "name=丹炉",
        ],
    )
    assert recipe.training.epochs == 1
    assert [(s.path, s.limit, s.task_type) for s in recipe.data.train] == [
        ("a.jsonl", None, "a/b"),
        ("b.csv", 4, None),
    ]
    assert recipe.model.template is None
    assert recipe.name == "丹炉"


def test_an_override_makes_the_section_it_needs() -> None:
    assert make_recipe({"name": "x"}, ["evaluation.patience=2"]).evaluation.patience == 2


def test_make_recipe_leaves_the_tree_alone() -> None:
    tree = {"name": "x", "training": {"epochs": 1}}
    make_recipe(tree, ["training.epochs=2"])
    assert tree == {"name": "x", "training": {"epochs": 1}}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("training.learnig_rate=1", "unknown setting. Did you mean 'learning_rate'?"),
        ("epochs=1", "epochs: unknown setting. Did you mean 'training.epochs'?"),
        ("trainng.epochs=1", "trainng: unknown setting. Did you mean 'training'?"),
        ("training.epochs=0", "training.epochs: 0 was given; it must be greater than 0."),
        ("training.epochs=many", "'many' was given; it must be a number"),
        ("training.epochs=nan", "'nan' was given; it must be a finite number"),
        ("training.max_steps=none", "For no value write null."),
        ("training.max_steps=1.5", "1.5 was given; it must be a whole number."),
        ("training.schedule=cosin", "'cosin' is not allowed. Did you mean 'cosine'?"),
        ("training=1", "training: 1 was given; it must be a group of settings."),
        ("name=1", "name: 1 was given; it must be text (put it in quotes)."),
        ("data.train=[{path: a, formt: x}]", "data.train[0].formt: unknown setting. Did you mean"),
        ("data.train=[{format: alpaca}]", "data.train[0].path: is missing and has no default."),
        ("data.train[0].limit=1", "data.train is a list of 0, which has no 0."),
        ("data.train.x=1", "data.train is a list of 0, which has no 'x'."),
        ("name.x=1", "name is 'sft-lora', which has no 'x' inside."),
        ("tuning.lora_targets=[1]", "tuning.lora_targets[0]: 1 was given; it must be text"),
        ("tuning.method=full", "tuning: lora_rank does nothing with method full"),
        ("data.train=[{path: a, task_type: b}]", "task type 'b' must have two levels: area/skill"),
        ("foo", "'foo' is not a setting: write KEY=VALUE"),
        ("=1", "'=1' is not a setting"),
        ("name=[a", "This is not YAML"),
    ],
)
def test_mistakes_in_overrides(override: str, problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("sft-lora", [override])
    assert problem in str(caught.value)
    where = "sft-lora:14" if override == "tuning.method=full" else "command line"
    assert str(caught.value).startswith(f"{where}:")


def test_all_problems_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
name: x
training:
  schedule: cosin
  learnig_rate: 2e-4
  epochs: 0
data:
  train:
  - a.jsonl
  - path: b.jsonl
    limit: -1
foo: 1
""",
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, ["samples.from_data=-1"])
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").split(" ")[0] for line in lines] == [
        "3:",
        "4:",
        "5:",
        "10:",
        "11:",
        "command",
    ]
    assert lines[1] == (
        f"{path}:4: training.learnig_rate: unknown setting. Did you mean 'learning_rate'?"
    )
    assert "data.train[1].limit" in lines[3]


def test_settings_that_exclude_each_other(tmp_path: Path) -> None:
    path = write(tmp_path, "name: x\ndata:\n  train: a\n  eval: b\n  eval_share: 0.1\n")
    with pytest.raises(RecipeError, match=r"my\.yaml:2: data: eval and eval_share exclude"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n", "A recipe is a tree of settings"),
        ("text\n", "A recipe is a tree of settings"),
        ("", "name: is missing and has no default."),
        ("name: x\nname: y\n", r":2: name is set twice"),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        load_recipe(write(tmp_path, text))


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(path)


def test_a_section_with_everything_commented_out(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, "name: x\ntraining:\n#  epochs: 1\n")) == Recipe(
        name="x", training={}
    )


def test_unknown_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown recipe 'quikstart'. Did you mean 'quickstart'"):
        load_recipe("quikstart")
    path = write(tmp_path, "name: x\n")
    with pytest.raises(RecipeError, match=rf"no recipe file .*Did you mean '{path}'"):
        load_recipe(tmp_path / "mi.yaml")
    with pytest.raises(RecipeError, match=r"no recipe file nowhere/my\.yaml"):
        load_recipe("nowhere/my.yaml")
    with pytest.raises(RecipeError, match="is a folder"):
        load_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(RecipeError, match=r"is a run directory; its recipe is .*recipe\.yaml"):
        load_recipe(tmp_path)


def test_relative_paths_mean_here_or_else_the_recipes_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
        (folder / "both.jsonl").touch()
    for name in ("only.jsonl", "own.jinja", "chatml"):
        (there / name).touch()
    monkeypatch.chdir(here)
    path = write(
        there,
        """\
name: x
model: {path: some/model, template: own.jinja}
data:
  train: [both.jsonl, only.jsonl, nowhere.jsonl, "onl*.jsonl", "hub:a/b"]
""",
    )
    recipe = load_recipe(path)
    assert [source.path for source in recipe.data.train] == [
        "both.jsonl",
        str(there / "only.jsonl"),
        "nowhere.jsonl",
        str(there / "onl*.jsonl"),
        "hub:a/b",
    ]
    assert recipe.model.path == "some/model"
    assert recipe.model.template == str(there / "own.jinja")
    # A shipped template's name stays one, even beside a file that is called the same.
    assert load_recipe(path, ["model.template=chatml"]).model.template == "chatml"


def test_only_what_was_given_is_saved_and_it_loads_again(tmp_path: Path) -> None:
    recipe = load_recipe(
        "sft-full", ["data.train=my.jsonl", 'samples.prompts=["是谁？", "a: b", "2e-4"]']
    )
    path = tmp_path / "recipe.yaml"
    save_recipe(recipe, path)
    assert path.read_text(encoding="utf-8") == recipe_text(recipe)
    assert load_recipe(path) == recipe
    assert load_recipe(path).model_fields_set == recipe.model_fields_set
    assert "lora" not in recipe_text(recipe)
    assert [entry.name for entry in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_is_read_back_from_all_its_settings(name: str) -> None:
    recipe = load_recipe(name, ["runs_dir=elsewhere", "sequences.max_length=77"])
    assert resolved_recipe(recipe.model_dump(mode="json")) == recipe
    with pytest.raises(RecipeError, match=r"resolved\.json"):
        resolved_recipe(recipe.model_dump(mode="json") | {"gone": 1})


def test_evaluation_data_on_the_command_line_replace_the_recipes_share() -> None:
    data = load_recipe("sft-lora", ["data.eval=held-out.jsonl"]).data
    assert ([source.path for source in data.eval], data.eval_share) == (["held-out.jsonl"], 0)
    tree = {"name": "x", "data": {"train": ["a.jsonl"], "eval": ["b.jsonl"]}}
    data = make_recipe(tree, ["data.eval_share=0.2"]).data
    assert (data.eval, data.eval_share) == ([], 0.2)
    with pytest.raises(RecipeError, match="exclude each other"):
        make_recipe(tree, ["data.eval_share=0.2", "data.eval=b.jsonl"])
