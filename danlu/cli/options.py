"""Options that several functions need together: a dataclass, each of whose fields is one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from typing import Any, get_type_hints


def gathered(
    command: Callable[..., Any],
    argument: str,
    kind: type[Any],
    defaults: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Give a command the options of a dataclass, behind its own, which it gets as one argument.

    Args:
        command: A command with this argument.
        argument: Its name.
        kind: The dataclass; its fields are annotated as options are.
        defaults: Of some of its fields, in place of their own.
    """
    hints = get_type_hints(kind, include_extras=True)
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name != argument]
    given = defaults or {}
    added = [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=given.get(one.name, _default(kind, one.name)),
            annotation=hints[one.name],
        )
        for one in fields(kind)
    ]

    @wraps(command)
    def called(**options: Any) -> Any:
        chosen = {one.name: options.pop(one.name) for one in fields(kind)}
        return command(**options, **{argument: kind(**chosen)})

    shaped: Any = called
    own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    shaped.__signature__ = signature.replace(parameters=[*own, *added])
    shaped.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    del shaped.__wrapped__
    return called


def _default(kind: type[Any], name: str) -> Any:
    """Return a field's default as a signature has it: empty if there is none."""
    return inspect.signature(kind).parameters[name].default
