"""What a dataset consists of, per task type: sizes, lengths, tags, sources."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from danlu.records import Record
from danlu.workshop.store.writer import characters

QUANTILES = (0.05, 0.5, 0.95)


@dataclass
class TypeStatistics:
    """Figures of one task type; lengths are in characters.

    Attributes:
        records: How many records.
        turns: How many assistant turns; a record with answers to compare has one.
        characters: Of all messages and responses.
        prompts: Length of what stands before the last answer, per record.
        answers: Length of each answer.
        tags: How many records have each.
        sources: How many records come from each.
    """

    records: int = 0
    turns: int = 0
    characters: int = 0
    prompts: array[int] = field(default_factory=lambda: array("q"))
    answers: array[int] = field(default_factory=lambda: array("q"))
    tags: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count a record."""
        self.records += 1
        size = characters(record)
        self.characters += size
        self.tags.update(record.tags)
        self.sources[record.source] += 1
        if record.responses:
            self.turns += 1
            answered = [len(response.content) for response in record.responses]
            self.prompts.append(size - sum(answered))
            self.answers.extend(answered)
            return
        answered = [len(m.content or "") for m in record.messages if m.role == "assistant"]
        self.turns += len(answered)
        self.answers.extend(answered)
        last = record.messages[-1]
        after = len(last.content or "") if last.role == "assistant" else 0
        self.prompts.append(size - after)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return {
            "records": self.records,
            "turns": self.turns,
            "characters": self.characters,
            "prompt_characters": quantiles(self.prompts),
            "answer_characters": quantiles(self.answers),
            "tags": dict(self.tags.most_common()),
            "sources": dict(self.sources.most_common()),
        }


def statistics(records: Iterable[Record]) -> dict[str, TypeStatistics]:
    """Count records by task type, in the order of their names.

    Memory holds two integers per record, not its text.
    """
    found: dict[str, TypeStatistics] = {}
    for record in records:
        found.setdefault(record.task_type, TypeStatistics()).add(record)
    return dict(sorted(found.items()))


def together(parts: Iterable[TypeStatistics]) -> TypeStatistics:
    """Add the figures of several task types."""
    whole = TypeStatistics()
    for part in parts:
        whole.records += part.records
        whole.turns += part.turns
        whole.characters += part.characters
        whole.prompts.extend(part.prompts)
        whole.answers.extend(part.answers)
        whole.tags.update(part.tags)
        whole.sources.update(part.sources)
    return whole


def quantiles(lengths: array[int]) -> dict[str, int] | None:
    """Return lengths at 5, 50 and 95 percent, each that of an existing text; None without any.

    Example:
        >>> quantiles(array("q", range(1, 101)))
        {'p5': 5, 'p50': 50, 'p95': 95, 'max': 100}
    """
    if not lengths:
        return None
    values = np.quantile(np.asarray(lengths), (*QUANTILES, 1.0), method="inverted_cdf")
    names = [*(f"p{round(100 * quantile)}" for quantile in QUANTILES), "max"]
    return {name: int(value) for name, value in zip(names, values, strict=True)}
