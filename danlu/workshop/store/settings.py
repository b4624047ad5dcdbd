"""What an operation is, as data: its name and every setting that shapes its result."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from danlu.workshop.store.decision import Operation


def settings_of(operation: Operation) -> dict[str, Any]:
    """Return the settings of an operation as JSON has them.

    A field marked ``field(metadata={"setting": False})`` is no setting: it changes how the work is
    done (a batch size, an index made before) and not its result. An object that is no plain data
    says with a method ``settings()`` what it is.

    Raises:
        TypeError: If a setting is neither; that is a fault in the operation.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Shorten:
        ...     limit: int = 80
        ...     keep: tuple[str, ...] = ("code/python",)
        >>> settings_of(Shorten())
        {'limit': 80, 'keep': ['code/python']}
    """
    if hasattr(operation, "settings"):
        return dict(_plain(operation.settings(), "settings"))
    return {name: _plain(value, name) for name, value in field_settings(operation).items()}


def field_settings(operation: object, without: Collection[str] = ()) -> dict[str, Any]:
    """Return those fields of an operation that are settings, for its own ``settings()`` to add to.

    Args:
        operation: A dataclass.
        without: Fields that shape nothing this time.
    """
    shape: Any = operation  # mypy takes a Protocol for no dataclass
    return {
        one.name: getattr(operation, one.name)
        for one in fields(shape)
        if one.metadata.get("setting", True) and one.name not in without
    }


def _plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{name}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, name) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(inner, name) for inner in value)
    if hasattr(value, "settings"):
        return _plain(value.settings(), name)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name), name) for one in fields(value)}
    raise TypeError(f"the setting {name} is a {type(value).__name__}, which says nothing as data")
