"""The options by which commands choose records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from danlu.workshop.operations.choice import Choice

Ids = Annotated[
    list[str] | None,
    typer.Option("--id", help="The record of this id, or of each line of @FILE; again for more."),
]
TaskTypes = Annotated[
    list[str] | None,
    typer.Option("--task-type", "-t", help="Of this task type, or of a pattern as math/*."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="With this tag; may be given again.")]
Text = Annotated[
    str | None,
    typer.Option(help="Containing this; case, width and traditional characters do not count."),
]
MinLength = Annotated[int | None, typer.Option(min=0, help="At least so many characters.")]
MaxLength = Annotated[int | None, typer.Option(min=0, help="At most so many characters.")]


def choice_of(
    ids: list[str] | None,
    task_types: list[str] | None,
    tags: list[str] | None,
    text: str | None,
    min_length: int | None,
    max_length: int | None,
) -> Choice:
    """Return what the options choose."""
    from danlu.workshop.operations.choice import Choice

    return Choice(
        tuple(_listed(ids or [])),
        tuple(task_types or ()),
        tuple(tags or ()),
        text,
        min_length,
        max_length,
    )


def _listed(ids: list[str]) -> Iterator[str]:
    """Yield ids, those of a file in the place of ``@FILE``.

    Raises:
        BadParameter: If the file cannot be read, or is empty.
    """
    from danlu.records.text_files import text_lines

    for one in ids:
        if not one.startswith("@"):
            yield one
            continue
        try:
            lines = text_lines(one[1:])
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(
                f"{one[1:]} cannot be read: {error}", param_hint="--id"
            ) from error
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise typer.BadParameter(f"{one[1:]} has no id", param_hint="--id")
        yield from found
