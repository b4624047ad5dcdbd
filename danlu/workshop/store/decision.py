"""What an operation says of each record: kept, dropped, edited or made, and why.

An operation is a frozen dataclass whose fields are its settings, and one method. It never writes:
``Store.apply`` turns its decisions into a dataset version and a ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol

from danlu.records import Record

Fate = Literal["kept", "dropped", "edited", "made"]

Scalar = str | int | float | bool | None

Progress = Callable[[str, int, int | None], None]
"""Told of a stage of the work, how much is done, and how much there is, where that is known."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger.

    Attributes:
        id: Of the record.
        task_type: As it is after the operation.
        fate: What became of the record.
        rule: Why; empty for a record that was kept without more ado.
        value: What was measured of the record.
        limit: What the value was held against.
        partner: Id of the record that this one is a duplicate of, was made from, was held against.
        detail: What else a person should know, in a sentence.
    """

    id: str
    task_type: str
    fate: Fate
    rule: str = ""
    value: Scalar = None
    limit: Scalar = None
    partner: str | None = None
    detail: str = ""


class Decision(NamedTuple):
    """A record, and what becomes of it."""

    record: Record
    entry: Entry


class Operation(Protocol):
    """Something done to a dataset.

    Attributes:
        name: As in ``danlu data NAME``.
        revision: Raised whenever the same records and settings give another result than before, so
            that versions made earlier are not taken for it.
    """

    name: ClassVar[str]
    revision: ClassVar[int]

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Say what becomes of every record, each exactly once, and of every record that is made."""


def keep(record: Record, rule: str = "", value: Scalar = None, limit: Scalar = None) -> Decision:
    """Keep a record as it is.

    Example:
        >>> from danlu.records import Message
        >>> keep(Record("1", "a/b", (Message("text", "Hi"),))).entry.fate
        'kept'
    """
    return Decision(record, Entry(record.id, record.task_type, "kept", rule, value, limit))


def drop(
    record: Record,
    rule: str,
    value: Scalar = None,
    limit: Scalar = None,
    partner: str | None = None,
    detail: str = "",
) -> Decision:
    """Leave a record out, for a rule.

    Example:
        >>> from danlu.records import Message
        >>> record = Record("2", "a/b", (Message("text", "Hi"),))
        >>> drop(record, "near duplicate", 0.92, 0.8, partner="1").entry.partner
        '1'
    """
    entry = Entry(record.id, record.task_type, "dropped", rule, value, limit, partner, detail)
    return Decision(record, entry)


def edit(record: Record, rule: str, value: Scalar = None, detail: str = "") -> Decision:
    """Put a changed record, of the same id, in the place of the old one."""
    entry = Entry(record.id, record.task_type, "edited", rule, value, detail=detail)
    return Decision(record, entry)


def make(record: Record, rule: str, partner: str | None = None, detail: str = "") -> Decision:
    """Add a new record, of an id that no other has; ``partner`` is what it was made from."""
    entry = Entry(record.id, record.task_type, "made", rule, partner=partner, detail=detail)
    return Decision(record, entry)
