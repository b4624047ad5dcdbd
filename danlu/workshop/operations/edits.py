"""What a person does by hand to the records of a choice: drop, tag, give another task type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from danlu.errors import StoreError
from danlu.records import Record
from danlu.records.source import check_task_type
from danlu.workshop.operations.choice import Choice
from danlu.workshop.store.decision import Decision, Progress, drop, edit, keep

BY_HAND = "by hand"


@dataclass(frozen=True)
class Drop:
    """Leave the chosen records out.

    Attributes:
        choice: Which.
        reason: Why; stands in the ledger.
    """

    name: ClassVar[str] = "drop"
    revision: ClassVar[int] = 1

    choice: Choice
    reason: str = ""

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Drop what is chosen."""
        count = 0
        for record in records:
            fits = self.choice.fits(record)
            count += fits
            yield drop(record, BY_HAND, detail=self.reason) if fits else keep(record)
        _must_be_some(count)


@dataclass(frozen=True)
class Tag:
    """Give the chosen records tags, and take others away.

    Attributes:
        choice: Which records.
        add: Tags that they get.
        remove: Tags that they lose.
    """

    name: ClassVar[str] = "tag"
    revision: ClassVar[int] = 1

    choice: Choice
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Edit what is chosen and has not those tags already."""
        count = 0
        for record in records:
            tags = tuple(dict.fromkeys((*record.tags, *self.add)))
            tags = tuple(tag for tag in tags if tag not in self.remove)
            if tags == record.tags or not self.choice.fits(record):
                yield keep(record)
            else:
                count += 1
                yield edit(replace(record, tags=tags), "tag", ", ".join(tags))
        _must_be_some(count)


@dataclass(frozen=True)
class Retype:
    """Give the chosen records a task type.

    Attributes:
        choice: Which records.
        task_type: What they become.

    Raises:
        RecordError: If the task type has not two levels.
    """

    name: ClassVar[str] = "retype"
    revision: ClassVar[int] = 1

    choice: Choice
    task_type: str

    def __post_init__(self) -> None:
        check_task_type(self.task_type)

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Edit what is chosen and is of another task type; the ledger has that one."""
        count = 0
        for record in records:
            if record.task_type == self.task_type or not self.choice.fits(record):
                yield keep(record)
            else:
                count += 1
                yield edit(replace(record, task_type=self.task_type), "retype", record.task_type)
        _must_be_some(count)


def _must_be_some(count: int) -> None:
    """Refuse an edit that changes nothing: more likely than not, the choice was mistyped.

    Raises:
        StoreError: If the count is 0.
    """
    if not count:
        raise StoreError(
            "no record is chosen, or all that are are so already; nothing is changed. "
            "'danlu data show' takes the same options."
        )
