"""Watches that an operation says of every record, exactly once, what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from danlu.records import Record
from danlu.workshop.execution.blocks import Block, blocks_of
from danlu.workshop.store.decision import Decision, Progress
from danlu.workshop.veto import after_veto, protects

REPORT_EVERY = 1000


class OperationFaultError(RuntimeError):
    """A fault in an operation: it passed over a record, decided twice, or contradicts itself."""


class Watched:
    """The records that an operation is given; may be gone through more than once.

    Ids are held from when a record was first given until it is decided about: of an operation that
    streams, one at a time.

    Args:
        records: Makes a new stream of the records.
        count: How many there are; None if nobody knows yet.
        name: Of the operation.
        progress: Told how many records were given.
        blocks: The same records in blocks, for whoever looks at them elsewhere; they are not given
            by that.
    """

    def __init__(
        self,
        records: Callable[[], Iterator[Record]],
        count: int | None,
        name: str,
        progress: Progress,
        blocks: Callable[[], Iterator[Block]] | None = None,
    ) -> None:
        self._records = records
        self._blocks = blocks
        self._count = count
        self._name = name
        self._progress = progress
        self._given = 0
        # With the record itself where a tag may keep it as it is.
        self._open: dict[str, Record | None] = {}
        self._made: set[str] = set()

    def __iter__(self) -> Iterator[Record]:
        position = 0
        for record in self._records():
            position += 1
            if position > self._given:
                self._given = position
                if record.id in self._open:
                    raise OperationFaultError(f"two records have the id {record.id!r}")
                self._open[record.id] = record if record.tags and protects(record) else None
                if position % REPORT_EVERY == 0:
                    self._progress(f"{self._name}: records", position, self._count)
            yield record
        if self._count is None:
            self._count = position

    def blocks(self) -> Iterator[Block]:
        """Return the records in blocks."""
        if self._blocks is None:
            yield from blocks_of(iter(self))
            return
        for block in self._blocks():
            self._progress(f"{self._name}: records", getattr(block, "first", 0), self._count)
            yield block

    def settled(self, decision: Decision) -> Decision:
        """Check a decision, and return what a tag leaves of it.

        Raises:
            OperationFaultError: If it contradicts itself or an earlier one.
        """
        record, entry = decision
        if record.id != entry.id or record.task_type != entry.task_type:
            raise self._fault(f"says {entry.id} ({entry.task_type}) of {record.id}")
        if entry.fate == "made":
            if record.id in self._made or record.id in self._open:
                raise self._fault(f"makes {record.id!r}, which is there already")
            self._made.add(record.id)
            return decision
        try:
            original = self._open.pop(record.id)
        except KeyError:
            raise self._fault(f"decides twice about {record.id!r}, or it was never given") from None
        return decision if original is None else after_veto(decision, original)

    def must_be_done(self) -> None:
        """Check that nothing was left out.

        Raises:
            OperationFaultError: If a record has no decision, or one that was made has the id of
                another.
        """
        if self._count is None or self._given < self._count:
            raise self._fault(f"stopped reading after {self._given} records")
        if self._open:
            some = ", ".join(list(self._open)[:3])
            raise self._fault(f"says nothing of {len(self._open)} records ({some} ...)")
        if self._made:
            for record in self._records():
                if record.id in self._made:
                    raise self._fault(f"makes {record.id!r}, which is there already")

    def _fault(self, what: str) -> OperationFaultError:
        return OperationFaultError(f"the operation {self._name} {what}")
