"""What an export format is, and what several of them ask of a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from danlu.records import Record


class UnfitError(Exception):
    """A record that a format cannot hold; its text is the reason, the same for all alike."""


@dataclass(frozen=True, slots=True)
class Export:
    """One way of writing records for other programs.

    Attributes:
        name: As in ``danlu data export --format``.
        leaves_out: What no row has, of those things that are not learned.
        row: Makes the row of a record. Raises UnfitError for what the format cannot hold.
    """

    name: str
    leaves_out: tuple[str, ...]
    row: Callable[[Record], dict[str, Any]]


def refuse_responses(record: Record) -> None:
    """Refuse answers to compare.

    Raises:
        UnfitError: If there are any.
    """
    if record.responses:
        raise UnfitError("answers to compare")


def with_columns(record: Record, row: Mapping[str, Any]) -> dict[str, Any]:
    """Put what every reader of Danlu knows around a row: id, task type, tags, and ``meta``.

    Raises:
        UnfitError: If a key of ``meta`` is a column of the format.
    """
    whole: dict[str, Any] = {"id": record.id, "task_type": record.task_type, **row}
    if record.tags:
        whole["tags"] = list(record.tags)
    if taken := whole.keys() & record.meta.keys():
        raise UnfitError(f"{min(taken)!r} in meta, which is a column of the format")
    return {**whole, **record.meta}
