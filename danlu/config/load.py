"""A recipe from a YAML file or a shipped name, and back to YAML.

Everything that is wrong with a recipe is found at once and reported together, each problem with
its file and line and, for a misspelt setting, the nearest valid name.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from glob import has_magic, iglob
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from danlu.config.problems import problems
from danlu.config.recipe import DataSection, Recipe, Section
from danlu.config.strict_yaml import KeyPath, read_value, read_yaml, readable, write_yaml
from danlu.errors import RecipeError, did_you_mean

_SHIPPED = Path(__file__).parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with Danlu, by name.

    Example:
        >>> "sft-lora" in shipped_recipes()
        True
    """
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def recipe_summary(path: Path) -> str:
    """Return the comment in the first line of a recipe file.

    Example:
        >>> recipe_summary(shipped_recipes()["sft-lora"])
        'Supervised tuning with LoRA: teach a model from conversations, on little memory.'
    """
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check every setting.

    A relative path inside it means the current directory; where nothing is found there, it means
    the directory of the recipe file.

    Args:
        recipe: A YAML file, or a name from ``shipped_recipes()``.
        overrides: Settings that take the place of the file's, as ``training.epochs=1``; a list
            item is ``data.train[0].limit=10``. Values are YAML.

    Raises:
        RecipeError: If there is no such recipe, or with every problem that it has.

    Example:
        >>> load_recipe("sft-lora", ["training.epochs=1", "data.train=my.jsonl"]).training.epochs
        1.0
    """
    path = find_recipe(recipe)
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"The recipe cannot be read: {error}.", where=str(path)) from error
    document = read_yaml(text, str(recipe))
    if not isinstance(document.value or {}, dict):
        raise RecipeError(
            "A recipe is a tree of settings such as 'name: my-run', not a list or a single value.",
            where=str(recipe),
        )
    lines = {key: f"{recipe}:{line}" for key, line in document.lines.items()}
    checked = make_recipe(document.value or {}, overrides, lines=lines, name=str(recipe))
    return _with_paths_from(checked, path.parent)


def make_recipe(
    tree: dict[str, Any],
    overrides: Sequence[str] = (),
    *,
    lines: Mapping[KeyPath, str] | None = None,
    name: str = "recipe",
) -> Recipe:
    """Check a tree of settings that did not come from a file.

    Args:
        tree: Sections and settings; left as it is.
        overrides: As for ``load_recipe``. Evaluation data given here replace a share of the
            recipe's, and the other way round.
        lines: Where each setting was written, for messages.
        name: What the tree is called in messages.

    Raises:
        RecipeError: With every problem that it has.

    Example:
        >>> make_recipe({"name": "mine"}, ["sequences.turns=last"]).sequences.turns
        'last'
    """
    tree, places = deepcopy(tree), dict(lines or {})
    for override in overrides:
        path = _apply(tree, override)
        places[path] = "command line"
        for length in range(1, len(path)):
            places.setdefault(path[:length], "command line")
    _one_gives_way(tree, {path[:2] for path in places if places[path] == "command line"})
    for section, field in Recipe.model_fields.items():
        if section in tree and tree[section] is None and field.default_factory:
            tree[section] = {}  # a section whose settings are all commented out
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError("\n".join(problems(error, Recipe, places, name))) from error


def resolved_recipe(tree: Mapping[str, Any]) -> Recipe:
    """Read a recipe back from a run's ``resolved.json``, which names every setting there is.

    Some settings are refused where they do nothing, so those that are as by default are taken as
    not given.

    Raises:
        RecipeError: If it was written by a version that had other settings.

    Example:
        >>> recipe = Recipe(name="mine", tuning={"method": "full"})
        >>> resolved_recipe(recipe.model_dump(mode="json")) == recipe
        True
    """
    return make_recipe(given_settings(tree), name="resolved.json")


def given_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved recipe without what is as by default, as a person would write it.

    Some settings are refused where they do nothing, and a resolved recipe names them all.

    Example:
        >>> given_settings({"name": "a", "training": {"epochs": 2.0, "max_steps": None}})
        {'name': 'a', 'training': {'epochs': 2.0}}
    """
    found: dict[str, Any] = {}
    for name, value in tree.items():
        known = Recipe.model_fields.get(name)
        make = known.default_factory if known else None
        default = make() if make else known and known.default  # type: ignore[call-arg]
        if isinstance(default, BaseModel) and isinstance(value, Mapping):
            usual = json.loads(default.model_dump_json())
            if own := _other(value, usual):
                found[name] = own
        else:
            found[name] = value
    return found


def _other(tree: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if name in usual and value == usual[name]:
            continue
        if isinstance(value, Mapping) and isinstance(usual.get(name), Mapping):
            value = _other(value, usual[name])
        found[name] = value
    return found


def find_recipe(recipe: str | Path) -> Path:
    """Return the file of a recipe: itself, or the shipped one of that name.

    Raises:
        RecipeError: If there is neither, with the nearest name.
    """
    path, shipped = Path(recipe), shipped_recipes()
    if path.is_file():
        return path
    if str(recipe) in shipped:
        return shipped[str(recipe)]
    if (path / "recipe.yaml").is_file():
        raise RecipeError(f"{recipe} is a run directory; its recipe is {path / 'recipe.yaml'}.")
    if path.is_dir():
        raise RecipeError(f"{recipe} is a folder; name a recipe file in it.")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        siblings = path.parent.glob("*.y*ml") if path.parent.is_dir() else []
        names = [str(sibling) for sibling in siblings] or [*shipped]
        raise RecipeError(f"There is no recipe file {recipe}.{did_you_mean(str(recipe), names)}")
    raise RecipeError(f"unknown recipe {str(recipe)!r}.{did_you_mean(str(recipe), shipped)}")


def recipe_text(recipe: Recipe) -> str:
    """Write the settings that were given (not the defaults) as YAML; it loads to an equal recipe.

    Example:
        >>> print(recipe_text(Recipe(name="my-run", training={"epochs": 1})), end="")
        name: my-run
        training:
          epochs: 1.0
    """
    return write_yaml(recipe.model_dump(mode="json", exclude_unset=True))


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write ``recipe_text`` to a file, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(recipe_text(recipe), encoding="utf-8")
    part.replace(path)


def _apply(tree: dict[str, Any], override: str) -> KeyPath:
    """Set one ``a.b=c`` in the tree and return its path."""
    name, equals, value = override.partition("=")
    path = _key_path(name.strip())
    if not equals or not path:
        raise RecipeError(
            f"{override!r} is not a setting: write KEY=VALUE, as in training.epochs=1.",
            where="command line",
        )
    here: Any = _with_sources_in_full(tree)
    for depth, part in enumerate(path):
        is_last = depth == len(path) - 1
        if isinstance(here, list):
            if not isinstance(part, int) or part >= len(here):
                raise RecipeError(
                    f"{readable(path[:depth])} is a list of {len(here)}, which has no {part!r}.",
                    where="command line",
                )
        elif not isinstance(here, dict):
            raise RecipeError(
                f"{readable(path[:depth])} is {here!r}, which has no {part!r} inside.",
                where="command line",
            )
        if is_last:
            here[part] = read_value(value)
        else:
            if isinstance(here, dict) and here.get(part) is None:
                here[part] = {}
            here = here[part]
    return path


def _one_gives_way(tree: dict[str, Any], given: Collection[KeyPath]) -> None:
    """Let data held out by one of two ways on the command line replace the recipe's other way."""
    for one, other in (("eval", "eval_share"), ("eval_share", "eval")):
        if ("data", one) in given and ("data", other) not in given:
            tree["data"].pop(other, None)


def _with_sources_in_full(tree: dict[str, Any]) -> dict[str, Any]:
    """Turn data sources that are written as bare paths into groups, in place."""
    data = tree.get("data")
    if isinstance(data, dict):
        for name in data.keys() & {"train", "eval"}:
            data[name] = DataSection._paths_are_sources(data[name])
    return tree


def _key_path(name: str) -> KeyPath:
    """Split ``data.train[0].path`` (or ``data.train.0.path``) into its parts."""
    parts = re.sub(r"\[(\d+)\]", r".\1", name).split(".")
    return tuple(int(part) if part.isdecimal() else part for part in parts if part)


def _with_paths_from(recipe: Recipe, folder: Path) -> Recipe:
    """Let relative paths that lead nowhere from here start at the recipe's own folder."""

    def moved(section: Section, names: Collection[str]) -> Section:
        given = {name: getattr(section, name) for name in section.model_fields_set & set(names)}
        return section.model_copy(
            update={name: _from(path, folder) for name, path in given.items() if path}
        )

    data, model = recipe.data, recipe.model
    sources = {
        name: [moved(source, ["path"]) for source in getattr(data, name)]
        for name in data.model_fields_set & {"train", "eval"}
    }
    # A template may be a shipped name, which must not become a folder that is called the same.
    is_file = (model.template or "").endswith(".jinja")
    files = ["path", "tokenizer", *(["template"] if is_file else [])]
    update = {
        "data": data.model_copy(update=sources),
        "model": moved(model, files),
        "objective": moved(recipe.objective, ["teacher"]),
    }
    return recipe.model_copy(
        update={name: update[name] for name in recipe.model_fields_set & set(update)}
    )


def _from(path: str, folder: Path) -> str:
    """Return ``path``, or ``folder/path`` where only that leads to something."""
    moved = os.path.normpath(os.path.join(folder, path))
    return moved if not _leads_somewhere(path) and _leads_somewhere(moved) else path


def _leads_somewhere(path: str) -> bool:
    return os.path.exists(path) or (has_magic(path) and any(iglob(path, recursive=True)))
