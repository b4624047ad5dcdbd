"""The form of a recipe: a field for every setting, made from the recipe's own description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from danlu.config import Recipe, Setting, describe, make_recipe
from danlu.config.strict_yaml import KeyPath, read_value, read_yaml, write_yaml
from danlu.errors import RecipeError
from danlu.studio.workspace import Workspace

Kind = Literal["choice", "number", "text", "lines"]
FIRST = ("name", "data.train", "model.path", "training.epochs", "training.learning_rate")
"""What most runs set; these stand above the sections."""
PLACE = "form"


@dataclass(frozen=True)
class Field:
    """One setting as a field.

    Attributes:
        setting: What it is.
        kind: How it is entered: one of several words, a number, text, or lines of text or YAML.
        options: Of a choice.
    """

    setting: Setting
    kind: Kind
    options: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """As it is typed in a recipe."""
        return self.setting.path

    @property
    def usual(self) -> str:
        """The default, as text."""
        return "" if self.setting.required else as_text(self.setting.default)


@dataclass(frozen=True)
class Checked:
    """What became of a filled form.

    Attributes:
        recipe: None where something is wrong with it.
        yaml: The settings that were filled in.
        problems: Each with the path of its setting; empty where it is of no single one.
    """

    recipe: Recipe | None
    yaml: str
    problems: tuple[tuple[str, str], ...]


def sections() -> dict[str, list[Field]]:
    """Return all fields by section; the run's own settings are under an empty name.

    Example:
        >>> [field.path for field in sections()["logging"]]
        ['logging.every_steps', 'logging.trackers']
    """
    found: dict[str, list[Field]] = {}
    for setting in describe():
        if "[" not in setting.path:
            found.setdefault(setting.path.rpartition(".")[0], []).append(_field(setting))
    return found


def _field(setting: Setting) -> Field:
    """Choose how a setting is entered by what it takes."""
    words = setting.type.removesuffix(" or null")
    if words.startswith(("list of", "mapping", "sources")):
        return Field(setting, "lines")
    if " | " in words:
        return Field(setting, "choice", tuple(words.split(" | ")))
    if words.startswith(("number", "whole number")):
        return Field(setting, "number")
    return Field(setting, "text")


def check(values: Mapping[str, str], workspace: Workspace) -> Checked:
    """Make a recipe of a filled form; an empty field leaves its setting at the default.

    Args:
        values: Text by the settings' paths; what is no setting is passed over.
        workspace: Runs are made in one of its folders, and nowhere else.
    """
    tree: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    places: dict[KeyPath, str] = {}
    for fields in sections().values():
        for field in fields:
            text = values.get(field.path, "").replace("\r\n", "\n").strip()
            if not text:
                continue
            try:
                _put(tree, field.path, _value(field, text))
            except RecipeError as error:
                problems.append((field.path, str(error)))
            places[tuple(field.path.split("."))] = PLACE
    if "runs_dir" not in tree and "runs" not in workspace.folders:
        tree["runs_dir"] = next(iter(workspace.folders))
    recipe = None
    try:
        recipe = make_recipe(tree, lines=places, name=PLACE)
    except RecipeError as error:
        problems += [_problem(line) for line in str(error).splitlines()]
    problems += _places(tree, workspace)
    return Checked(None if problems else recipe, write_yaml(tree) if tree else "", tuple(problems))


def values_of(recipe: Recipe) -> dict[str, str]:
    """Return what a recipe gives as the text of a form's fields; ``check`` gives it back.

    Example:
        >>> values_of(Recipe(name="mine", training={"epochs": 2}))
        {'name': 'mine', 'training.epochs': '2.0'}
    """
    given = [row for row in describe(recipe) if row.given and "[" not in row.path]
    return {row.path: as_text(row.value) for row in given if row.value not in ([], {})}


def values_of_yaml(text: str) -> dict[str, str]:
    """Return the fields' text for a recipe that was written by hand.

    Raises:
        RecipeError: If it is no recipe.
    """
    document = read_yaml(text, "YAML")
    if not isinstance(document.value or {}, dict):
        raise RecipeError("a recipe is a tree of settings such as 'name: my-run'.", where="YAML")
    lines = {key: f"YAML:{line}" for key, line in document.lines.items()}
    return values_of(make_recipe(document.value or {}, lines=lines, name="YAML"))


def as_text(value: Any) -> str:
    r"""Write a value as a field has it.

    Example:
        >>> as_text(True), as_text(0.0002), as_text(None), as_text(["a", "b"]), as_text([])
        ('true', '0.0002', 'null', 'a\nb', '[]')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        items = [item["path"] if _is_path(item) else item for item in value]
        if all(isinstance(item, str) and _is_line(item) for item in items):
            return "\n".join(items)
    if isinstance(value, list | dict) and value:
        return write_yaml(value).strip()
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return repr(value)


# Inner -----------------------------------------------------------------------------------


def _is_path(item: Any) -> bool:
    return isinstance(item, dict) and set(item) == {"path"}


def _is_line(text: str) -> bool:
    """Whether text stands on one line and cannot be taken for YAML of another kind."""
    plain = text[:1] not in ("", "[", "{", "'", '"', " ") and not f"{text} ".startswith("- ")
    return plain and "\n" not in text and ": " not in text


def _value(field: Field, text: str) -> Any:
    if field.kind == "text":
        return None if text == "null" else text
    if field.kind != "lines":
        return read_value(text)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if field.setting.type.startswith(("list of", "sources")) and all(map(_is_line, lines)):
        if len(lines) == 1 and field.path.endswith("targets"):
            return lines[0]  # all-linear, which is no list
        return [read_value(line) for line in lines]
    return read_yaml(text, field.path).value


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[name] = value


def _problem(line: str) -> tuple[str, str]:
    """Find the setting that a problem names: ``form: training.epochs: must be …``."""
    text = line.removeprefix(f"{PLACE}: ")
    path, colon, rest = text.partition(": ")
    return (path, rest) if colon and " " not in path else ("", text)


def _places(tree: Mapping[str, Any], workspace: Workspace) -> list[tuple[str, str]]:
    """Refuse a run outside the workspace's folders of runs."""
    found = []
    folder, name = str(tree.get("runs_dir", "runs")), str(tree.get("name", ""))
    if folder.strip("/") not in workspace.folders:
        allowed = ", ".join(workspace.folders)
        found.append(("runs_dir", f"is {folder}; this studio makes runs in {allowed}."))
    if "/" in name or "\\" in name or name.startswith("."):
        found.append(("name", "is the name of a folder, without / and no dot before it."))
    return found
