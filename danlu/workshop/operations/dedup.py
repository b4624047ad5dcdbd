"""Duplicates: of records that are the same, or nearly, one is kept.

Exact duplicates are equal as they are written. Near-duplicates have, folded, a Jaccard similarity
of their character shingles at or above a limit (see ``shingles`` for how two texts compare). Every
near-duplicate is measured against a record that is kept, not against another that goes: so two
records at the ends of a chain of small steps may both stay. A copy of a record goes for the same
partner, or for that record if it stays.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import ClassVar, Literal

import numpy as np

from danlu.records import Record
from danlu.workshop.likeness.greedy import Alike, Nearest, keep_unlike
from danlu.workshop.likeness.near import check_limit
from danlu.workshop.likeness.overlap import Bool, Pairs
from danlu.workshop.likeness.parts import parts
from danlu.workshop.likeness.shingles import SHORTEST, NearTexts, near_texts, text_jaccard
from danlu.workshop.likeness.text import fold
from danlu.workshop.operations.aside import stands_aside
from danlu.workshop.operations.given import Scores
from danlu.workshop.store.decision import Decision, Progress, drop, keep
from danlu.workshop.veto import after_veto

EXACT, NEAR = "exact duplicate", "near duplicate"
LABEL_CHARACTERS = 30
"""A longer answer is no label."""

_MANY = 16

On = Literal["prompt", "answer", "both"]
Keep = Literal["first", "longest", "best"]


@dataclass(frozen=True)
class Dedup:
    """Drops records that are duplicates of one that is kept.

    Records are only compared that have the same system prompt and tools (unless answers alone are
    compared), and the same task type (unless ``across``). In a task type whose answers are labels
    only prompts are compared, and only among records of the same label: so no label is lost, and
    neither are two sentences that differ little but in their label. Answers are labels where
    ``closed`` says so, or where at least half of the records have an answer of at most 30
    characters that another prompt has too.

    Attributes:
        on: What is compared. With ``both``, prompts and answers must each be alike, and the smaller
            similarity counts. A record without an answer is compared by its prompt.
        near: Least Jaccard similarity of near-duplicates; None for exact ones only. 0.8 is usual
            for MinHash (Lee et al. 2022, arXiv:2107.06499).
        keep: Which one stays: the ``first``, the one with the ``longest`` answer, or the ``best``
            by ``scores``; the earlier one of two that are equal in that.
        across: Compare records of different task types too.
        closed: Task types whose answers are from a fixed list.
        scores: For ``keep="best"``; higher is better.

    Raises:
        DanluError: If ``near`` is not above 0 and at most 1.
    """

    name: ClassVar[str] = "dedup"
    revision: ClassVar[int] = 2

    on: On = "both"
    near: float | None = 0.8
    keep: Keep = "first"
    across: bool = False
    closed: tuple[str, ...] = ()
    scores: Scores = field(default_factory=Scores)

    def __post_init__(self) -> None:
        if self.near is not None:
            check_limit(self.near)

    @property
    def decides_by_task_type(self) -> bool:
        """Whether records of other task types have no say in what becomes of one."""
        return not self.across

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Say of every record whether it is kept."""
        records = list(records)
        compared = self._compared(records)
        order = self._order(records)
        same = _equal(compared, order)
        near: dict[int, tuple[int, float]] = {}
        if self.near is not None:
            unlike = [number for number in order if same[number] == number]
            aside = [stands_aside(record, NEAR) for record in records]
            near = _near(compared, unlike, aside, self.near, partial(progress, self.name))
        for number, record in enumerate(records):
            first = same[number]
            # Of a duplicate of a near-duplicate: that one's partner is there, that one is not.
            stays = first not in near or stands_aside(records[first], NEAR)
            if first != number and stays:
                yield drop(record, EXACT, 1.0, 1.0, partner=records[first].id)
            elif first in near:
                assert self.near is not None
                like, much = near[first]
                dropped = drop(record, NEAR, much, self.near, partner=records[like].id)
                yield after_veto(dropped, record)
            else:
                yield keep(record)

    def _compared(self, records: Sequence[Record]) -> _Compared:
        """Say what of each record is compared, and among which others."""
        taken = [(part.frame, part.prompt, part.answer) for part in map(parts, records)]
        labelled = set(self.closed) | label_task_types(
            (record.task_type, prompt, answer)
            for record, (_, prompt, answer) in zip(records, taken, strict=True)
        )
        found = _Compared([], [], [])
        numbers: dict[Hashable, int] = {}
        frame_of = cache(fold)
        for record, (frame, prompt, answer) in zip(records, taken, strict=True):
            task_type = "" if self.across else record.task_type
            group: tuple[Hashable, ...]
            if record.task_type in labelled:
                group, answer = (record.task_type, frame_of(frame), "label", fold(answer)), ""
            elif self.on == "answer" and answer:
                group, prompt, answer = (task_type, "answer"), answer, ""
            else:
                answer = answer if self.on == "both" else ""
                group = (task_type, frame_of(frame), bool(answer))
            found.group.append(numbers.setdefault(group, len(numbers)))
            found.text.append(prompt)
            found.other.append(answer)
        return found

    def _order(self, records: Sequence[Record]) -> list[int]:
        """Return the records' numbers, those first that should rather stay."""
        numbers = list(range(len(records)))
        if self.keep == "longest":
            numbers.sort(key=lambda number: -len(parts(records[number]).answer))
        elif self.keep == "best":
            scores = self.scores.of(record.id for record in records)
            numbers.sort(key=lambda number: -scores[number])
        return numbers


@dataclass(frozen=True)
class _Compared:
    """What of each record is compared.

    Attributes:
        group: Only records of one group are compared.
        text: What must be alike.
        other: What must be alike too; empty if nothing.
    """

    group: list[int]
    text: list[str]
    other: list[str]

    def chosen(self, numbers: Sequence[int]) -> _Compared:
        """Return some of them."""
        return _Compared(
            [self.group[number] for number in numbers],
            [self.text[number] for number in numbers],
            [self.other[number] for number in numbers],
        )

    def folded(self) -> _Compared:
        """Return them all, folded."""
        return _Compared(
            self.group,
            [fold(text) for text in self.text],
            [fold(text) if text else "" for text in self.other],
        )

    def keys(self) -> Iterator[tuple[int, str, str]]:
        """Return of each record what it must be equal to another in."""
        return zip(self.group, self.text, self.other, strict=True)


def label_task_types(rows: Iterable[tuple[str, str, str]]) -> set[str]:
    """Find the task types whose answers are labels, by how they repeat.

    Args:
        rows: Task type, prompt and answer of each record.

    Returns:
        Those where at least half of the different pairs of prompt and answer have an answer of at
        most 30 characters that another prompt has too; case makes no difference.
    """
    prompts: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for task_type, prompt, answer in rows:
        label = answer.strip().casefold() if len(answer) <= LABEL_CHARACTERS else ""
        prompts[task_type][label].add(prompt)
    found: set[str] = set()
    for task_type, by_label in prompts.items():
        pairs = repeated = 0
        for label, asked in by_label.items():
            # Prompts that differ in writing alone are one; seldom are there several to look at.
            different = len(set(map(fold, asked))) if label and len(asked) > 1 else len(asked)
            pairs += different
            repeated += different if label and different > 1 else 0
        if repeated and 2 * repeated >= pairs:
            found.add(task_type)
    return found


def _equal(compared: _Compared, order: Iterable[int]) -> list[int]:
    """Return for each record the first one, in order, that is written like it."""
    first: dict[tuple[int, str, str], int] = {}
    keys = list(compared.keys())
    same = [0] * len(keys)
    for number in order:
        same[number] = first.setdefault(keys[number], number)
    return same


def _near(
    compared: _Compared,
    order: Sequence[int],
    aside: Sequence[bool],
    limit: float,
    told: Callable[[int, int], None],
) -> dict[int, tuple[int, float]]:
    """Find, for each record that is one, what it is a near-duplicate of, and how near."""
    folded = compared.chosen(order).folded()
    # Records that are equal when folded are one item, which the first of them stands for.
    item_of: list[int] = []
    known: dict[tuple[int, str, str], int] = {}
    stands_for: list[int] = []
    for place, (number, key) in enumerate(zip(order, folded.keys(), strict=True)):
        count = len(stands_for)
        item = count if aside[number] else known.setdefault(key, count)
        item_of.append(item)
        if item == count:
            stands_for.append(place)
    nearest = _nearest_items(
        folded.chosen(stands_for),
        np.array([aside[order[place]] for place in stands_for], np.bool_),
        limit,
        lambda done: told(done, len(stands_for)),
    )
    partner, value = nearest.partner.tolist(), nearest.value.tolist()
    found: dict[int, tuple[int, float]] = {}
    for place, (number, item) in enumerate(zip(order, item_of, strict=True)):
        if partner[item] >= 0:
            found[number] = order[stands_for[partner[item]]], value[item]
        elif stands_for[item] != place:
            found[number] = order[stands_for[item]], 1.0
    return found


def _nearest_items(
    items: _Compared, aside: Bool, limit: float, told: Callable[[int], None]
) -> Nearest:
    """Keep each item that is like none before it, by one text or by both."""
    text, other = list(items.text), list(items.other)
    # One text is looked up and the other one measured afterwards: the prompt, but where prompts
    # repeat so much that nearly every pair would be found.
    repeats = _repeats(items.group, text)
    swap = repeats > _MANY * len(text) and _repeats(items.group, other) < repeats
    numbers: dict[tuple[int, str], int] = {}
    group = np.zeros(len(text), np.int64)
    for item, own in enumerate(items.group):
        equal = ""
        if other[item] and swap:
            text[item], other[item] = other[item], text[item]
        if other[item] and len(text[item]) < SHORTEST:
            # A text without shingles must be equal: then it is a part of the group.
            equal, text[item], other[item] = text[item], other[item], ""
        group[item] = numbers.setdefault((own, equal), len(numbers))
    finders = near_texts(text, limit, group)
    return keep_unlike(
        len(text),
        [_Both(finder, other, limit) for finder in finders] if any(other) else finders,
        aside=aside,
        progress=told,
    )


def _repeats(group: Sequence[int], texts: Sequence[str]) -> int:
    """Count the pairs of items with the same text in the same group."""
    times = Counter(zip(group, texts, strict=True))
    return sum(count * count for count in times.values())


class _Both:
    """Finds the pairs that are near-duplicates in two texts."""

    def __init__(self, finder: NearTexts, others: Sequence[str], limit: float) -> None:
        self._finder, self._others, self._limit = finder, others, limit

    def alike(self, start: int, stop: int, first: int, last: int | None) -> Iterator[Alike]:
        for found in self._finder.alike(start, stop, first, last):
            measured = text_jaccard(self._others, Pairs(found.left, found.right))
            near = measured >= self._limit
            value = np.minimum(found.value, measured)[near]
            yield Alike(found.left[near], found.right[near], value)

    def drop(self, alive: Bool) -> None:
        self._finder.drop(alive)
