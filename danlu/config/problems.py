"""What pydantic found wrong with a recipe, in words for the one who wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from danlu.config.strict_yaml import KeyPath, readable
from danlu.errors import did_you_mean, nearest

_KINDS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping such as {key: value}",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list such as [a, b]",
    "model_type": "a group of settings",
    "string_type": "text (put it in quotes)",
}


def problems(
    error: ValidationError, model: type[BaseModel], lines: Mapping[KeyPath, str], name: str
) -> list[str]:
    """Say each problem in one line: place, setting, what is wrong, what to do.

    Args:
        error: What pydantic raised.
        model: The tree's type, for the names that are allowed.
        lines: Where each setting was written: ``file:line`` or ``command line``.
        name: The place of what was never written, such as a missing setting.

    Example:
        >>> from danlu.config.recipe import Recipe
        >>> lines = {("training", "learnig_rate"): "my.yaml:3"}
        >>> try:
        ...     Recipe(name="x", training={"learnig_rate": 1})
        ... except ValidationError as error:
        ...     print(*problems(error, Recipe, lines, "my.yaml"))
        my.yaml:3: training.learnig_rate: unknown setting. Did you mean 'learning_rate'?
    """
    texts: dict[KeyPath, list[str]] = {}
    for details in error.errors(include_url=False):
        path = _setting_path(details["loc"], model)
        texts.setdefault(path, []).append(_text(details, path, model))
    order = {path: number for number, path in enumerate(lines)}
    return [
        f"{lines.get(known, name)}: {_joined(path, texts[path])}"
        for known, path in sorted(
            ((_written(path, lines), path) for path in texts),
            key=lambda pair: order.get(pair[0], len(order)),
        )
    ]


def _joined(path: KeyPath, texts: list[str]) -> str:
    """Join what every member of a union had to say."""
    where = f"{readable(path)}: " if path else ""
    return where + " Or: ".join(dict.fromkeys(texts))


def _written(path: KeyPath, lines: Mapping[KeyPath, str]) -> KeyPath:
    """Return the setting itself, or else the nearest group around it that was written."""
    while path and path not in lines:
        path = path[:-1]
    return path


def _text(details: Mapping[str, Any], path: KeyPath, model: type[BaseModel]) -> str:
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown setting.{_nearest_setting(path, model)}"
    if kind == "missing":
        return "is missing and has no default."
    if kind == "value_error":
        return f"{context['error']}."
    if kind == "literal_error":
        allowed = _allowed(_annotation(path, model))
        return f"{given!r} is not allowed.{did_you_mean(str(given), allowed)}"
    wanted = _KINDS.get(kind) or details["msg"].removeprefix("Input should be ")
    remedy = " For no value write null." if str(given).lower() == "none" else ""
    return f"{given!r} was given; it must be {wanted}.{remedy}"


def _setting_path(location: tuple[int | str, ...], model: type[BaseModel]) -> KeyPath:
    """Drop from pydantic's location the names of union members, which no recipe contains."""
    path: list[int | str] = []
    here: Any = model
    for part in location:
        if section := _section(here):
            path.append(part)
            field = section.model_fields.get(str(part))
            here = field.annotation if field else None
        elif isinstance(part, int) or _is_mapping(here):
            path.append(part)
            here = next((item for item in get_args(here) if _section(item)), None)
    return tuple(path)


def _annotation(path: KeyPath, model: type[BaseModel]) -> Any:
    """Return the type that was declared for the setting at ``path``."""
    here: Any = model
    for part in path:
        if isinstance(part, int):
            here = next((item for item in get_args(here) if _section(item)), here)
        elif section := _section(here):
            here = section.model_fields[part].annotation
    return here


def _section(annotation: Any) -> type[BaseModel] | None:
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_section else None


def _is_mapping(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is dict


def _allowed(annotation: Any) -> list[str]:
    """Return the words of every Literal inside a type.

    Example:
        >>> from typing import Literal
        >>> _allowed(list[str] | Literal["all-linear"])
        ['all-linear']
    """
    if isinstance(annotation, str):
        return [annotation]
    return [word for part in get_args(annotation) for word in _allowed(part)]


def _nearest_setting(path: KeyPath, model: type[BaseModel]) -> str:
    """Look among the setting's neighbours first, then in the whole tree."""
    leaf = str(path[-1])
    section = _section(_annotation(path[:-1], model))
    siblings = list(section.model_fields) if section else []
    if nearest(leaf, siblings):
        return did_you_mean(leaf, siblings)
    elsewhere = {full.rpartition(".")[2]: full for full in _all_settings(model)}
    if match := nearest(leaf, elsewhere):
        return f" Did you mean {elsewhere[match]!r}?"
    return did_you_mean(leaf, siblings)


def _all_settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        if section := _section(field.annotation):
            yield from _all_settings(section, f"{prefix}{name}.")
