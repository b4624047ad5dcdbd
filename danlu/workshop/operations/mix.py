"""Mixing: how much of each task type, area or source a dataset has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.errors import RecordError
from danlu.records import Record
from danlu.workshop.execution.blocks import Block, blocks_of
from danlu.workshop.execution.executor import HERE, Executor
from danlu.workshop.likeness.overlap import Int64
from danlu.workshop.likeness.parts import parts
from danlu.workshop.operations.given import Scores
from danlu.workshop.operations.marks import marks_of_ids
from danlu.workshop.operations.shares import Row, Target, Targets, plan, take
from danlu.workshop.store.decision import Decision, Progress, drop, keep, make

RULE = "mix"

Grouping = Literal["task_type", "area", "source"]
Unit = Literal["records", "characters", "tokens"]


class Achieved(NamedTuple):
    """What a group came to.

    Attributes:
        name: Of the group.
        unit: Of the next two.
        asked: What the targets come to.
        achieved: What was taken.
        share: Of the mix, in the unit.
        records: Records taken, repeats and all.
        distinct: Different records among them.
        repeats: ``records`` over ``distinct``; 0 of none.
        bound: Why less was taken than asked for; empty if it was not.
    """

    name: str
    unit: str
    asked: float
    achieved: float
    share: float
    records: int
    distinct: int
    repeats: float
    bound: str


@dataclass(frozen=True)
class Mix:
    """Takes some records not at all, and some more than once.

    Attributes:
        targets: By task type, area or source: a count (``500``), a share of the mix (``0.25``), or
            for several joined by colons a ratio (``{"open:domain": "1:3"}``). With counts and
            ratios, what is not named stays as it is; with shares it fills the rest.
        by: What the names are of. A source is called by its whole name, or without folder and
            extension.
        unit: What is counted. ``records``; or the loss's share, for which ``characters`` of the
            answers stand, and more exactly their ``tokens``, given as scores.
        tokens: Trained tokens of each record, for ``unit="tokens"``.
        total: Size of a mix of shares or of one ratio; None is as large as ``repeats`` allows.
        repeats: How often a record may be taken at most, in the mean of its group.
        cap: Largest amount of a group.
        seed: Another seed, another draw. Which records are taken depends on the id of each alone,
            so that a draw changes little when other records come or go.
        executor: Looks at the records.

    Raises:
        DanluError: If the targets say nothing that can be done.
    """

    name: ClassVar[str] = "mix"
    revision: ClassVar[int] = 1

    targets: Mapping[str, Target]
    by: Grouping = "task_type"
    unit: Unit = "records"
    tokens: Scores = field(default_factory=Scores)
    total: float | None = None
    repeats: float = 1.0
    cap: float | None = None
    seed: int = 0
    executor: Executor = field(default=HERE, metadata={"setting": False}, compare=False)

    def __post_init__(self) -> None:
        Targets.parse(self.targets)

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Say of every record whether it is taken; repeated ones are made, after their original.

        Goes through the records twice and holds their ids; an iterator, that cannot be gone through
        again, is held.
        """
        held = list(records) if isinstance(records, Iterator) else records
        drawn = self._draw(held)
        used = set(drawn.ids)
        for number, record in enumerate(held):
            row = drawn.rows[drawn.group[number]]
            count = int(drawn.counts[number])
            if not count:
                yield drop(record, RULE, row.available, row.planned, detail=f"part of {row.name}")
                continue
            yield keep(record)
            copy = 1
            for _ in range(count - 1):
                copy += 1
                while f"{record.id}#{copy}" in used:
                    copy += 1
                repeated = replace(record, id=f"{record.id}#{copy}")
                yield make(repeated, "repeat", partner=record.id)
            if number % 1000 == 0:
                progress(self.name, number, len(drawn.ids))

    def outcome(self, records: Iterable[Record]) -> list[Achieved]:
        """Say what is asked for and achieved, by group."""
        drawn = self._draw(records)
        taken = drawn.amount * drawn.counts
        whole = float(taken.sum())
        found = []
        for number, row in enumerate(drawn.rows):
            own = drawn.group == number
            amount = float(taken[own].sum())
            counts = drawn.counts[own]
            together, distinct = int(counts.sum()), int((counts > 0).sum())
            found.append(
                Achieved(
                    row.name,
                    self.unit,
                    row.asked,
                    amount,
                    amount / whole if whole else 0.0,
                    together,
                    distinct,
                    together / distinct if distinct else 0.0,
                    row.bound,
                )
            )
        return found

    def _draw(self, records: Iterable[Record]) -> _Drawn:
        ids: list[str] = []
        names: list[str] = []
        counts: list[int] = []
        looking = _Looking(self.by, self.unit, frozenset(Targets.parse(self.targets).names))
        for seen in self.executor.map(looking, blocks_of(records)):
            for id_, name, count in seen:
                ids.append(id_)
                names.append(name)
                counts.append(count)
        amount = np.array(self._tokens(ids) if self.unit == "tokens" else counts, np.float64)
        numbers: dict[str, int] = {}
        for name in sorted(set(names)):
            numbers[name] = len(numbers)
        group = np.array([numbers[name] for name in names], np.int64)
        together = np.bincount(group, amount, len(numbers)).tolist()
        rows = plan(
            dict(zip(numbers, together, strict=True)),
            Targets.parse(self.targets),
            total=self.total,
            repeats=self.repeats,
            cap=self.cap,
        )
        times = np.array([row.times for row in rows])
        marks = marks_of_ids(ids, self.seed)
        return _Drawn(ids, rows, group, amount, take(times, group, amount, marks))

    def _tokens(self, ids: Iterable[str]) -> list[float]:
        try:
            return self.tokens.of(ids)
        except RecordError as error:
            remedy = "Give trained tokens: --tokens FILE, as 'danlu data score' writes it."
            raise RecordError(f"{error.message} {remedy}") from error


@dataclass(frozen=True)
class _Looking:
    """Says of the records of a block what a mix must know of them: id, group and amount."""

    by: Grouping
    unit: Unit
    named: frozenset[str]

    def __call__(self, block: Block) -> list[tuple[str, str, int]]:
        return [(one.id, self._group(one), self._amount(one)) for one in block.records()]

    def _group(self, record: Record) -> str:
        if self.by == "task_type":
            return record.task_type
        if self.by == "area":
            return record.task_type.partition("/")[0]
        return record.source if record.source in self.named else PurePath(record.source).stem

    def _amount(self, record: Record) -> int:
        # An empty answer is still an end of the turn to be learned.
        return max(1, len(parts(record).answer)) if self.unit == "characters" else 1


class _Drawn(NamedTuple):
    """The ids, the groups, and of each record its group, amount, and how often it is taken."""

    ids: list[str]
    rows: list[Row]
    group: Int64
    amount: NDArray[np.float64]
    counts: Int64
