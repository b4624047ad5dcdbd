"""Novelty: a record is kept when its prompt is unlike every prompt kept before it.

As in self-instruct (Wang et al. 2022, arXiv:2212.10560): the highest ROUGE-L F1 against the whole
pool must be at most 0.7. Here over units that are right for Chinese, exactly, and fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np

from danlu.errors import DanluError
from danlu.records import Record
from danlu.workshop.execution.executor import HERE, Executor
from danlu.workshop.likeness.greedy import Nearest, keep_unlike
from danlu.workshop.likeness.overlap import Bags, Bool
from danlu.workshop.likeness.parts import parts
from danlu.workshop.likeness.rouge import AboveRouge, unit_bags
from danlu.workshop.likeness.text import fold, units
from danlu.workshop.likeness.tiles import keep_unlike_in_tiles
from danlu.workshop.operations.aside import stands_aside
from danlu.workshop.operations.given import Pool
from danlu.workshop.store.decision import Decision, Progress, drop, keep
from danlu.workshop.veto import after_veto

RULE = "novelty"


@dataclass(frozen=True)
class Novelty:
    """Drops records whose prompts say little that is new, in the order of the records.

    Prompts are compared folded, without system prompts, over all task types. A prompt without any
    word is dropped only for one that is the same.

    Attributes:
        limit: Highest ROUGE-L F1 that still counts as new; self-instruct's is 0.7.
        pool: Prompts that are there before the first record.
        executor: Compares prompts.

    Raises:
        DanluError: If the limit is not between 0 and 1.
    """

    name: ClassVar[str] = "novelty"
    revision: ClassVar[int] = 2

    limit: float = 0.7
    pool: Pool = field(default_factory=Pool)
    executor: Executor = field(default=HERE, metadata={"setting": False})

    def __post_init__(self) -> None:
        if not 0 < self.limit < 1:
            raise DanluError(f"the novelty limit is {self.limit:g}; it must be between 0 and 1.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Say of every record whether it is kept.

        Goes through the records twice and holds what is compared of them; an iterator, that cannot
        be gone through again, is held.
        """
        held = list(records) if isinstance(records, Iterator) else records
        ids, aside = [*self.pool.texts], [False] * len(self.pool.texts)
        bare: dict[int, str] = {}  # What has no unit can only be equal to another.

        def prompts() -> Iterator[str]:
            yield from self.pool.texts.values()
            for record in held:
                ids.append(record.id)
                aside.append(stands_aside(record, RULE))
                yield parts(record).prompt

        def cut() -> Iterator[list[str]]:
            for number, text in enumerate(prompts()):
                found = units(folded := fold(text))
                if not found:
                    bare[number] = folded
                yield found

        nearest = self._nearest(unit_bags(cut()), np.array(aside, np.bool_), progress)
        partner, value = nearest.partner.tolist(), nearest.value.tolist()
        first = {text: number for number, text in reversed(bare.items()) if not aside[number]}
        for number, record in enumerate(held, len(self.pool.texts)):
            like, much = partner[number], value[number]
            if number in bare and first.get(bare[number], number) < number:
                like, much = first[bare[number]], 1.0
            if like < 0:
                yield keep(record)
                continue
            yield after_veto(drop(record, RULE, much, self.limit, partner=ids[like]), record)

    def _nearest(self, bags: Bags, aside: Bool, progress: Progress) -> Nearest:
        """Find what each prompt is most like among those that are kept before it."""
        finding, given = partial(AboveRouge, limit=self.limit), len(self.pool.texts)

        def told(done: int) -> None:
            progress(self.name, done, len(bags))

        if self.executor is HERE:
            return keep_unlike(len(bags), [finding(bags)], aside=aside, given=given, progress=told)
        return keep_unlike_in_tiles(
            bags, finding, self.executor, aside=aside, given=given, progress=told
        )
