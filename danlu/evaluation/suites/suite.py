"""The suite: items, and per task type how they are scored and how much that matters."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.schema import Item, TypeStakes


@dataclass(frozen=True)
class Suite:
    """What is asked of every version of a model.

    Attributes:
        name: Of the suite.
        task_types: How each is scored; every one of them has items.
        items: What is asked, each of one of these task types.
        description: What it is for, in a line or two.

    Raises:
        EvaluationError: If there are no items, two have one id, a task type is unknown or without
            items, or an item goes on from one that is not before it.
    """

    name: str
    task_types: Mapping[str, TypeStakes]
    items: tuple[Item, ...]
    description: str = ""

    def __post_init__(self) -> None:
        if not self.items:
            raise EvaluationError(
                "the suite has no items: there is nothing to ask.", where=self.name
            )
        before: dict[str, Item] = {}
        for item in self.items:
            self._check(item, before)
            before[item.id] = item
        counts = Counter(item.task_type for item in self.items)
        for name in self.task_types:
            if not counts[name]:
                raise EvaluationError(
                    f"there is no item of this task type; take it out, or add items. There are "
                    f"{', '.join(sorted(counts))}.",
                    where=f"{self.name}: {name}",
                )

    def _check(self, item: Item, before: Mapping[str, Item]) -> None:
        where = f"{self.name}, item {item.id}"
        if item.id in before:
            raise EvaluationError("two items have this id; give each its own.", where=where)
        if item.task_type not in self.task_types:
            raise EvaluationError(
                f"the suite does not say how {item.task_type} is scored."
                f"{did_you_mean(item.task_type, self.task_types)}",
                where=where,
            )
        if not item.messages:
            raise EvaluationError("asks nothing: it has no messages.", where=where)
        if item.follows is not None and item.follows not in before:
            raise EvaluationError(
                f"goes on from {item.follows!r}, which does not stand before it.", where=where
            )

    @property
    def fingerprint(self) -> str:
        """Hash of items and task types, 16 hexadecimal digits; the name does not count."""
        digest = hashlib.blake2b(digest_size=8)
        for name in sorted(self.task_types):
            digest.update(f"{name}\n{self.task_types[name].to_json()}\n".encode())
        for item in self.items:
            digest.update(f"{item.to_json()}\n".encode())
        return digest.hexdigest()

    def limited(self, per_type: int) -> Suite:
        """Return the suite with a few items of each task type, and what goes on from them.

        They are drawn by their ids, always the same ones: files are often sorted by label, so that
        the first would be all alike.
        """
        taken: Counter[str] = Counter()
        drawn: set[str] = set()
        for item in sorted(self.items, key=lambda item: _mark(item.id)):
            if item.follows is None and taken[item.task_type] < per_type:
                taken[item.task_type] += 1
                drawn.add(item.id)
        kept: dict[str, Item] = {}
        for item in self.items:
            if item.id in drawn or item.follows in kept:
                kept[item.id] = item
        there = {item.task_type for item in kept.values()}
        types = {name: of for name, of in self.task_types.items() if name in there}
        return Suite(self.name, types, tuple(kept.values()), self.description)


def _mark(item: str) -> bytes:
    return hashlib.blake2b(item.encode(), digest_size=8).digest()
