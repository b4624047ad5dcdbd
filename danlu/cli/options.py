"""Options that several commands have in common, and those that come together in a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings in place of the recipe's."),
]
RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A YAML file, or a name from 'danlu recipe list'.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Remove an earlier run of the same name first.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that comes with a model.")
]
OwnTemplate = Annotated[
    str | None, typer.Option(help="A chat template in place of the tokenizer's own.")
]
MissingTemplate = Annotated[
    str | None, typer.Option(help="Chat template, for a model without one of its own.")
]
FormatName = Annotated[str, typer.Option(help="A name from 'danlu formats'.")]
TaxonomyFile = Annotated[
    Path | None, typer.Option(help="YAML file of the task types; else the dataset's own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
AsJsonArray = Annotated[bool, typer.Option("--json", help="A JSON array.")]


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
