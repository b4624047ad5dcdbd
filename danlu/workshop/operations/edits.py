"""What a person does by hand to the records of a choice: drop, tag, retype, revise."""

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


@dataclass(frozen=True)
class Revise:
    """Give messages and answers of one record another text.

    Attributes:
        id: Of the record.
        messages: Numbers of messages, from 1, each with its new text.
        answers: Numbers of answers to compare, from 1, each with its new text.
        reason: Why; stands in the ledger.
    """

    name: ClassVar[str] = "revise"
    revision: ClassVar[int] = 1

    id: str
    messages: tuple[tuple[int, str], ...] = ()
    answers: tuple[tuple[int, str], ...] = ()
    reason: str = ""

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Edit the record.

        Raises:
            StoreError: If it is not there, has not so many messages, or says so already.
        """
        count = 0
        for record in records:
            revised = self._revised(record) if record.id == self.id else record
            if revised == record:
                yield keep(record)
            else:
                count += 1
                yield edit(revised, BY_HAND, detail=self.reason)
        _must_be_some(count)

    def _revised(self, record: Record) -> Record:
        messages, answers = list(record.messages), list(record.responses)
        for number, text in self.messages:
            at = _nth(number, len(messages), "messages", record)
            messages[at] = replace(messages[at], content=text)
        for number, text in self.answers:
            at = _nth(number, len(answers), "answers to compare", record)
            answers[at] = replace(answers[at], content=text)
        return replace(record, messages=tuple(messages), responses=tuple(answers))


def _nth(number: int, count: int, what: str, record: Record) -> int:
    """Return the place of the numberth of some.

    Raises:
        StoreError: If there are not so many.
    """
    if not 1 <= number <= count:
        raise StoreError(f"there are {count} {what}, and no number {number}.", where=record.id)
    return number - 1


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
