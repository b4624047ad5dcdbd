"""Reading a suite: by the name of a shipped one, from YAML, or from another project's file.

::

    name: support
    description: What support must answer.
    items: [items.jsonl, {path: gsm8k_test.jsonl, format: gsm8k, limit: 200}]
    task_types:
      support/intent: {scorer: classification, labels: [billing, delivery], critical: true}

Files are looked for beside the YAML. What another project's format says of its own task types holds
unless the suite says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.errors import EvaluationError, RecipeError, RecordError, did_you_mean, nearest
from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.suites.formats import FORMATS, Foreign, recognised
from danlu.evaluation.suites.items import read_items
from danlu.evaluation.suites.stakes import read_stakes
from danlu.evaluation.suites.suite import Suite
from danlu.records.source import check_task_type

SHIPPED = Path(__file__).parent / "shipped"
OWN = "danlu"
FILE = "suite.yaml"
KEYS = ("name", "description", "items", "task_types")
FILE_KEYS = ("path", "format", "task_type", "limit")


def shipped_suites() -> dict[str, Path]:
    """Return the suites that ship, by name."""
    return {path.parent.name: path for path in sorted(SHIPPED.glob(f"*/{FILE}"))}


def load_suite(given: str | Path) -> Suite:
    """Read a suite.

    Args:
        given: The name of a shipped one, a YAML file, a folder with ``suite.yaml``, or a data file
            in a form that is known (see ``formats``).

    Raises:
        EvaluationError: If there is none, or it cannot be read; with file and line.
    """
    path = Path(given).expanduser()
    shipped = shipped_suites()
    if path.is_dir() and (path / FILE).is_file():
        return _from_yaml(path / FILE)
    if path.is_file():
        if path.suffix in (".yaml", ".yml"):
            return _from_yaml(path)
        return _from_data(path)
    if str(given) in shipped:
        return _from_yaml(shipped[str(given)])
    if path.is_dir():
        raise EvaluationError(f"this folder has no {FILE}.", where=str(given))
    match = nearest(str(given), shipped)
    told = f"Did you mean {match!r}?" if match else f"Shipped are: {', '.join(shipped)}."
    raise EvaluationError(f"there is no such suite or file. {told}", where=str(given))


@dataclass(frozen=True)
class _File:
    path: Path
    format: str
    task_type: str | None
    limit: int | None


def _from_data(path: Path) -> Suite:
    """Read a file of another project as a suite of its own."""
    foreign = recognised(path)
    if foreign is None:
        raise EvaluationError(
            "this is neither a suite (YAML) nor a data file in a form that is known: "
            f"{', '.join(FORMATS)}. Write a suite that names it, and says how it is scored.",
            where=str(path),
        )
    items = tuple(foreign.read(path, None))
    types = {item.task_type for item in items}
    return Suite(path.stem, {name: foreign.stakes(name) for name in sorted(types)}, items)


def _from_yaml(path: Path) -> Suite:
    from danlu.config.strict_yaml import read_yaml

    where = str(path)
    try:
        tree = read_yaml(path.read_text("utf-8-sig"), where).value
    except RecipeError as error:
        raise EvaluationError(error.message, where=error.where) from error
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"cannot be read: {error}.", where=where) from error
    if not isinstance(tree, dict):
        raise EvaluationError(f"a suite says: {', '.join(KEYS)}.", where=where)
    for key in tree:
        if key not in KEYS:
            raise EvaluationError(
                f"{key!r} is not known.{did_you_mean(str(key), KEYS)}", where=where
            )
    for key in ("name", "description"):
        if not isinstance(tree.get(key, ""), str):
            raise EvaluationError(f"is {tree[key]!r}; it must be text.", where=f"{where}: {key}")
    named = _task_types(tree.get("task_types"), where)
    only = next(iter(named)) if len(named) == 1 else None
    items: list[Item] = []
    known: dict[str, TypeStakes] = {}
    for file in _files(tree.get("items"), path):
        read, says = _read(file, only)
        items += read
        known |= (
            {name: says.stakes(name) for name in {one.task_type for one in read}} if says else {}
        )
    types = {name: known[name] for name in sorted(known) if name not in named} | named
    name = tree.get("name") or (path.parent.name if path.name == FILE else path.stem)
    return Suite(name, types, tuple(items), tree.get("description", ""))


def _task_types(tree: Any, where: str) -> dict[str, TypeStakes]:
    if tree is None:
        return {}
    if not isinstance(tree, Mapping) or not tree:
        raise EvaluationError(
            "must say of each task type how it is scored, as in math/sums: numeric.",
            where=f"{where}: task_types",
        )
    found = {}
    for name, about in tree.items():
        try:
            check_task_type(str(name))
        except RecordError as error:
            raise EvaluationError(error.message, where=f"{where}: task_types") from error
        found[str(name)] = read_stakes(about, f"{where}: {name}")
    return found


def _files(given: Any, suite: Path) -> Iterator[_File]:
    where = f"{suite}: items"
    listed = given if isinstance(given, list) else [given]
    if given is None or not listed:
        raise EvaluationError("names no file of items.", where=where)
    for one in listed:
        tree = {"path": one} if isinstance(one, str) else one
        if not isinstance(tree, Mapping) or not isinstance(tree.get("path"), str):
            raise EvaluationError(
                f"is {one!r}; it must be a file, or say: {', '.join(FILE_KEYS)}.", where=where
            )
        for key in tree:
            if key not in FILE_KEYS:
                hint = did_you_mean(str(key), FILE_KEYS)
                raise EvaluationError(f"{key!r} is not known.{hint}", where=where)
        form, limit = tree.get("format", OWN), tree.get("limit")
        if form not in (OWN, *FORMATS):
            hint = did_you_mean(str(form), (OWN, *FORMATS))
            raise EvaluationError(f"no such format.{hint}", where=f"{where}: {form}")
        if limit is not None and (type(limit) is not int or limit < 1):
            raise EvaluationError(f"limit is {limit!r}; it must be at least 1.", where=where)
        task_type = tree.get("task_type")
        if task_type is not None:
            try:
                check_task_type(str(task_type))
            except RecordError as error:
                raise EvaluationError(error.message, where=where) from error
        place = Path(tree["path"]).expanduser()
        yield _File(suite.parent / place, form, task_type, limit)


def _read(file: _File, only: str | None) -> tuple[list[Item], Foreign | None]:
    """Read a file's items, and return whose format it is; None for Danlu's own."""
    foreign = FORMATS.get(file.format)
    if foreign is None:
        found = list(read_items(file.path, file.task_type or only))
    else:
        found = list(foreign.read(file.path, file.task_type))
    if not found:
        raise EvaluationError("there is no item in it.", where=str(file.path))
    if file.limit is not None:
        found = found[: file.limit]
    return found, foreign
