"""Operations over shards: all records of one task type in one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from danlu.records import Record
from danlu.workshop.execution.blocks import Block
from danlu.workshop.store.decision import Decision, Operation
from danlu.workshop.store.watch import Watched


@runtime_checkable
class Shards(Protocol):
    """An executor that can bring the records of a task type to one place."""

    def by_task_type(self, operation: Operation, blocks: Iterable[Block]) -> Iterator[Decision]:
        """Decide over each shard, and yield the settled decisions in the order of the records."""


def decides_by_task_type(operation: Operation) -> bool:
    """Whether what an operation decides of a record depends on those of its task type alone.

    An operation says so by a property of this name; without one it is asked about all records.
    """
    return bool(getattr(operation, "decides_by_task_type", False))


def decide_shard(operation: Operation, records: Sequence[Record]) -> Iterator[Decision]:
    """Decide over the records of one task type, watched as a whole dataset is.

    Raises:
        OperationFaultError: If the operation passes over a record or decides twice.
    """
    watched = Watched(
        lambda: iter(records), len(records), operation.name, lambda stage, done, total: None
    )
    for decision in operation.decide(watched, lambda stage, done, total: None):
        yield watched.settled(decision)
    watched.must_be_done()
