"""Novelty: a record is kept when its prompt is unlike every prompt kept before it.

As in self-instruct (Wang et al. 2022, arXiv:2212.10560): the highest ROUGE-L F1 against the whole
pool must be at most 0.7. Here over units that are right for Chinese, exactly, and fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from danlu.errors import DanluError
from danlu.records import Record
from danlu.workshop.likeness.greedy import keep_unlike
from danlu.workshop.likeness.parts import parts
from danlu.workshop.likeness.rouge import AboveRouge, unit_bags
from danlu.workshop.likeness.text import fold, units
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

    Raises:
        DanluError: If the limit is not between 0 and 1.
    """

    name: ClassVar[str] = "novelty"
    revision: ClassVar[int] = 1

    limit: float = 0.7
    pool: Pool = field(default_factory=Pool)

    def __post_init__(self) -> None:
        if not 0 < self.limit < 1:
            raise DanluError(f"the novelty limit is {self.limit:g}; it must be between 0 and 1.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Say of every record whether it is kept."""
        records = list(records)
        ids = [*self.pool.texts, *(record.id for record in records)]
        texts = [*self.pool.texts.values(), *(parts(record).prompt for record in records)]
        given = len(self.pool.texts)
        aside = [False] * given + [stands_aside(record, RULE) for record in records]
        folded = [fold(text) for text in texts]
        bags = [units(text) for text in folded]
        nearest = keep_unlike(
            len(bags),
            [AboveRouge(unit_bags(bags), self.limit)],
            aside=np.array(aside, np.bool_),
            given=given,
            progress=lambda done: progress(self.name, done, len(bags)),
        )
        partner, value = nearest.partner.tolist(), nearest.value.tolist()
        # What has no unit can only be equal to another.
        bare: dict[str, int] = {}
        for number, bag in enumerate(bags):
            if not bag and not aside[number]:
                bare.setdefault(folded[number], number)
        for number, record in enumerate(records, given):
            like, much = partner[number], value[number]
            if not bags[number] and bare.get(folded[number], number) < number:
                like, much = bare[folded[number]], 1.0
            if like < 0:
                yield keep(record)
                continue
            yield after_veto(drop(record, RULE, much, self.limit, partner=ids[like]), record)
