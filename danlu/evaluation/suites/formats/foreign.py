"""What a format of another project is: how it is known, read and scored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from danlu.errors import EvaluationError
from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.suites.items import rows_of

Row = Mapping[str, Any]


class Foreign(Protocol):
    """A format of another project."""

    @property
    def name(self) -> str:
        """Of the format."""
        ...

    def fits(self, path: Path) -> bool:
        """Whether a file is of this format, by its first row."""
        ...

    def read(self, path: Path, task_type: str | None) -> Iterator[Item]:
        """Read the items of a file.

        Raises:
            EvaluationError: With file and line, if a row is not one of this format.
        """
        ...

    def stakes(self, task_type: str, /) -> TypeStakes:
        """Say how a task type of it is scored."""
        ...


@dataclass(frozen=True)
class JsonlFormat:
    """One format of JSONL files.

    Attributes:
        name: Of the format.
        columns: That every row of it has.
        absent: Columns that its rows do not have, where others' have them.
        items: Turns a row into items, given its number in the file, its place for messages, and
            the task type that the user gave, if any.
        stakes: How a task type of it is scored.
    """

    name: str
    columns: Collection[str]
    items: Callable[[Row, int, str, str | None], list[Item]]
    stakes: Callable[[str], TypeStakes]
    absent: Collection[str] = ()

    def fits(self, path: Path) -> bool:
        """Whether the first row of a file is one of this format."""
        if path.suffix not in (".jsonl", ".ndjson"):
            return False
        _, row = next(rows_of(path), (0, {}))
        return all(key in row for key in self.columns) and not any(k in row for k in self.absent)

    def read(self, path: Path, task_type: str | None) -> Iterator[Item]:
        """Read the items of a file.

        Raises:
            EvaluationError: With file and line, if a row is not one of this format.
        """
        for number, (line, row) in enumerate(rows_of(path)):
            where = f"{path}:{line}"
            for column in self.columns:
                if column not in row:
                    raise EvaluationError(
                        f"has no {column!r}, which every row of {self.name} has.", where=where
                    )
            yield from self.items(row, number, where, task_type)


def text_of(row: Row, column: str, where: str) -> str:
    """Return a text that must be there.

    Raises:
        EvaluationError: If it is none, or empty.
    """
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise EvaluationError(f"{column} is {value!r}; it must be a text.", where=where)
    return value


def skill(name: str) -> str:
    """Turn a category's name into a skill: lower case, no spaces or slashes.

    Example:
        >>> skill("Professional Knowledge"), skill("数学/计算")
        ('professional_knowledge', '数学_计算')
    """
    return "_".join(name.replace("/", " ").lower().split()) or "unnamed"


def user(text: str) -> tuple[dict[str, Any], ...]:
    """Return one message of the user."""
    return ({"role": "user", "content": text},)
