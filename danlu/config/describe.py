"""Every setting of a recipe with its meaning, its default and where that comes from."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from danlu.config.recipe import DataSource, Recipe, Section
from danlu.config.strict_yaml import write_yaml


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        path: As it is typed: ``training.learning_rate``, ``data.train[0].limit``.
        type: What it takes, in words: ``number > 0 or null``.
        value: Its value in the recipe; the default where there is no recipe.
        default: What it is when left out; None also for a setting that must be given.
        required: Whether it must be given.
        given: Whether the recipe gives it.
        meaning: What it does.
        source: Where the default comes from; empty where it was free to choose.
    """

    path: str
    type: str
    value: Any
    default: Any
    required: bool
    given: bool
    meaning: str
    source: str

    def as_dict(self) -> dict[str, Any]:
        """Return the setting as plain data for JSON."""
        return asdict(self)


def describe(recipe: Recipe | None = None) -> list[Setting]:
    """Return every setting, in order; without a recipe, the settings of one data source too.

    Example:
        >>> row = next(row for row in describe() if row.path == "training.learning_rate")
        >>> row.type, row.default, row.meaning
        ('number > 0', 0.0002, 'Peak learning rate.')
    """
    return list(_settings(Recipe, recipe, ""))


def describe_section(kind: type[Section], prefix: str = "") -> list[Setting]:
    """Return every setting of another tree than the recipe's, or of one item of a list.

    Example:
        >>> [row.path for row in describe_section(DataSource, "train[].")][:2]
        ['train[].path', 'train[].format']
    """
    return list(_settings(kind, None, prefix))


def _settings(kind: type[BaseModel], section: BaseModel | None, prefix: str) -> Iterator[Setting]:
    for name, field in kind.model_fields.items():
        path, inner = prefix + name, field.annotation
        value = None if section is None else getattr(section, name)
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _settings(inner, value, f"{path}.")
            continue
        given = section is not None and name in section.model_fields_set
        yield _setting(path, field, value if section is not None else _default(field), given)
        item = next(iter(get_args(inner)), None)
        if isinstance(item, type) and issubclass(item, Section):
            if section is None and name == "train":  # one list stands for all of its kind
                yield from _settings(item, None, f"{path}[].")
            for index, entry in enumerate(value or ()):
                yield from _settings(item, entry, f"{path}[{index}].")


def _setting(path: str, field: FieldInfo, value: Any, given: bool) -> Setting:
    extra = field.json_schema_extra
    return Setting(
        path=path,
        type=type_words(field),
        value=_plain(value),
        default=_plain(_default(field)),
        required=field.is_required(),
        given=given,
        meaning=field.description or "",
        source=str(extra.get("source", "")) if isinstance(extra, dict) else "",
    )


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return None
    return field.get_default(call_default_factory=True, validated_data={})


def _plain(value: Any) -> Any:
    """Turn sections inside a value into dicts."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value


def type_words(field: FieldInfo) -> str:
    """Say what a setting takes.

    Example:
        >>> type_words(FieldInfo.from_annotation(int | None))
        'whole number or null'
    """
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = [
        f" {sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in signs.items()
        if hasattr(limit, name)
    ]
    return _words(field.annotation, " and".join(limits))


def _words(annotation: Any, limits: str = "") -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part, limits) for part in arguments)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is list:
        return f"list of {_words(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "sources" if issubclass(annotation, DataSource) else "mapping"
    names = {bool: "true | false", int: "whole number", float: "number", str: "text"}
    if annotation in (int, float):
        return names[annotation] + limits
    if annotation is type(None):
        return "null"
    return names.get(annotation, "mapping")


def annotated(recipe: Recipe) -> str:
    r"""Write a recipe out in full, each setting under its meaning and the source of its default.

    Settings left at their default are commented out, so the text is a recipe itself: it loads to
    an equal one, and is a place to begin one's own.

    Example:
        >>> print(*annotated(Recipe(name="my-run")).splitlines()[:4], sep="\n")
        # Name of the run; its directory is runs_dir/name. (text; required)
        name: my-run
        # Where run directories are. (text; default runs)
        #runs_dir: runs
    """
    own = [name for name in Recipe.model_fields if not _is_section(getattr(recipe, name))]
    parts = [_annotated_fields(recipe, own, "")]
    for name in Recipe.model_fields:
        if name in own or not recipe.uses(name):
            continue
        section = getattr(recipe, name)
        doc = (type(section).__doc__ or "").splitlines()[0]
        fields = _annotated_fields(section, list(type(section).model_fields), "  ")
        parts.append(f"# {doc}\n{name}:\n{fields}")
    return "\n".join(parts)


def _annotated_fields(section: BaseModel, names: Sequence[str], indent: str) -> str:
    lines: list[str] = []
    for name in names:
        field = type(section).model_fields[name]
        given = name in section.model_fields_set
        reads = getattr(section, "reads", None)
        if not given and reads is not None and not reads(name):
            continue  # it does nothing with the method or objective that was chosen
        if _is_section(inner := getattr(section, name)):
            about = (type(inner).__doc__ or "").splitlines()[0]
            below = _annotated_fields(inner, list(type(inner).model_fields), "  ")
            lines += [*_comment(about), f"{'' if given else '#'}{name}:", *below.splitlines()]
            continue
        row = _setting(name, field, getattr(section, name), given)
        lines += _comment(f"{row.meaning} ({_type_and_default(row)})")
        if row.type == "list of sources" and name == "train":
            lines += _inner_settings("A source is a path, or these settings:", DataSource)
        elif _is_section(getattr(section, name)):
            lines += _inner_settings("It has these settings:", type(getattr(section, name)))
        value = write_yaml({name: row.value}).rstrip("\n").split("\n")
        lines += value if given else [f"#{line}" for line in value]
    return textwrap.indent("\n".join(lines) + "\n", indent)


def _inner_settings(title: str, kind: type[BaseModel]) -> list[str]:
    """Return comments that say what a data source, or a group of settings, may hold."""
    lines = [f"# {title}"]
    for row in _settings(kind, None, ""):
        lines += _comment(f"{row.path}: {row.meaning} ({_type_and_default(row)})", indent="#   ")
    return lines


def _type_and_default(row: Setting) -> str:
    if row.required:
        return f"{row.type}; required"
    default = write_yaml(row.default).removesuffix("...\n").strip()
    return f"{row.type}; default {default}" + (f": {row.source}" if row.source else "")


def _comment(text: str, indent: str = "# ") -> list[str]:
    return textwrap.wrap(text, 96, initial_indent=indent, subsequent_indent=indent)


def _is_section(value: Any) -> bool:
    return isinstance(value, Section)
