"""What one dataset has more, less or otherwise than another, per task type.

Records are the same if they have the same id. Beside the records, a task type is measured by its
text and by its part of the loss: what a training run would learn from it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

from danlu.records import Record
from danlu.records.lines import encode_record
from danlu.workshop.store.decision import Progress
from danlu.workshop.store.store import no_progress

Weighting = Literal["token", "record", "turn", "task_type"]
WEIGHTINGS: tuple[Weighting, ...] = ("token", "record", "turn", "task_type")

Measure = Callable[[Sequence[str]], Sequence[int]]
"""Gives the length of each text: in characters, or in a model's tokens."""

BATCH_RECORDS = 256


def in_characters(texts: Sequence[str]) -> list[int]:
    """Measure texts in characters.

    Example:
        >>> in_characters(["天地", "abc"])
        [2, 3]
    """
    return [len(text) for text in texts]


@dataclass
class Side:
    """One dataset's part of a task type.

    Attributes:
        records: How many.
        length: Of all texts.
        loss: Sum of the weights of what is learned; shares of it are shares of the loss.
    """

    records: int = 0
    length: int = 0
    loss: float = 0.0

    def __iadd__(self, other: Side) -> Side:
        self.records += other.records
        self.length += other.length
        self.loss += other.loss
        return self


@dataclass
class TypeDiff:
    """One task type in both datasets.

    Attributes:
        before: In the first.
        after: In the second.
        added: Records that only the second has.
        removed: Records that only the first has.
        changed: Records of both, of this task type in the second, whose content differs.
        retyped: Records of both that had another task type in the first.
    """

    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    added: int = 0
    removed: int = 0
    changed: int = 0
    retyped: int = 0


@dataclass(frozen=True)
class Diff:
    """The difference of two datasets.

    Attributes:
        task_types: By task type, in the order of their names.
        before: Sum of the first.
        after: Sum of the second.
    """

    task_types: dict[str, TypeDiff]
    before: Side
    after: Side

    def as_dict(self) -> dict[str, Any]:
        """Return counts and shares as JSON has them."""
        return {
            "before": vars(self.before),
            "after": vars(self.after),
            "task_types": {
                name: {
                    "added": one.added,
                    "removed": one.removed,
                    "changed": one.changed,
                    "retyped": one.retyped,
                    "before": vars(one.before) | shares(one.before, self.before),
                    "after": vars(one.after) | shares(one.after, self.after),
                }
                for name, one in self.task_types.items()
            },
        }


def shares(part: Side, whole: Side) -> dict[str, float]:
    """Return a part's share of the records, of the length and of the loss; 0 of nothing.

    Example:
        >>> shares(Side(1, 10, 2.0), Side(4, 20, 2.0))
        {'record_share': 0.25, 'length_share': 0.5, 'loss_share': 1.0}
    """
    pairs = zip(vars(part).values(), vars(whole).values(), strict=True)
    values = [one / all_ if all_ else 0.0 for one, all_ in pairs]
    return dict(zip(("record_share", "length_share", "loss_share"), values, strict=True))


def diff(
    before: Iterable[Record],
    after: Iterable[Record],
    *,
    measure: Measure = in_characters,
    weighting: Weighting = "token",
    progress: Progress = no_progress,
) -> Diff:
    """Compare two datasets, each gone through once.

    Memory holds an id, a hash and a task type per record of the first.

    Args:
        before: The first.
        after: The second.
        measure: Gives lengths of texts.
        weighting: What counts equally in the loss, as ``sequences.weighting`` of a recipe.
        progress: Told how many records are done.
    """
    found: dict[str, TypeDiff] = {}
    known: dict[str, tuple[bytes, str]] = {}

    def of(task_type: str) -> TypeDiff:
        return found.setdefault(task_type, TypeDiff())

    for record, side in _measured(before, measure, weighting, "before", progress):
        part = of(record.task_type)
        part.before += side
        known[record.id] = (digest(record), record.task_type)
    for record, side in _measured(after, measure, weighting, "after", progress):
        part = of(record.task_type)
        part.after += side
        earlier = known.pop(record.id, None)
        if earlier is None:
            part.added += 1
        else:
            part.changed += earlier[0] != digest(record)
            part.retyped += earlier[1] != record.task_type
    for _, task_type in known.values():
        of(task_type).removed += 1
    if weighting == "task_type":
        for part in found.values():
            part.before.loss, part.after.loss = bool(part.before.loss), bool(part.after.loss)
    whole_before, whole_after = Side(), Side()
    for part in found.values():
        whole_before += part.before
        whole_after += part.after
    return Diff(dict(sorted(found.items())), whole_before, whole_after)


def digest(record: Record) -> bytes:
    """Hash what a record says, to 8 bytes; source and task type are no part of that."""
    plain = replace(record, source="", task_type="a/b")
    return hashlib.blake2b(encode_record(plain), digest_size=8).digest()


def _measured(
    records: Iterable[Record],
    measure: Measure,
    weighting: Weighting,
    stage: str,
    progress: Progress,
) -> Iterator[tuple[Record, Side]]:
    stream = iter(records)
    done = 0
    while batch := list(islice(stream, BATCH_RECORDS)):
        texts = [text_and_weight(record) for record in batch]
        lengths = iter(measure([text for one in texts for text, _ in one]))
        for record, one in zip(batch, texts, strict=True):
            sizes = [(next(lengths), weight) for _, weight in one]
            yield record, Side(1, sum(size for size, _ in sizes), loss_of(sizes, weighting))
        done += len(batch)
        progress(stage, done, None)


def text_and_weight(record: Record) -> list[tuple[str, float | None]]:
    """Return every text of a record, with its weight in the loss; None for what is only read.

    Tool calls and reasoning of an answer are learned with it.

    Example:
        >>> from danlu.records import Message
        >>> turns = (Message("user", "Hi"), Message("assistant", "Hello", weight=0.5))
        >>> text_and_weight(Record("1", "a/b", turns))
        [('Hi', None), ('Hello', 0.5)]
    """
    found: list[tuple[str, float | None]] = []
    if record.tools:
        found.append((json.dumps(list(record.tools), ensure_ascii=False), None))
    for message in record.messages:
        learned = message.role in ("assistant", "text") and not record.responses
        text = message.content or ""
        if message.extra:
            said = [message.extra.get("reasoning_content"), message.extra.get("tool_calls")]
            text += "".join(json.dumps(one, ensure_ascii=False) for one in said if one)
        found.append((text, message.weight if learned else None))
    return found + [(response.content, 1.0) for response in record.responses]


def loss_of(sizes: Sequence[tuple[int, float | None]], weighting: Weighting) -> float:
    """Return a record's weight in the loss, of the lengths and weights of its texts.

    Example:
        >>> turns = [(10, None), (4, 1.0), (2, 0.5)]
        >>> [loss_of(turns, weighting) for weighting in WEIGHTINGS]
        [5.0, 0.75, 1.5, 5.0]
    """
    learned = [(size, weight) for size, weight in sizes if weight and size]
    if not learned:
        return 0.0
    weights = [weight for _, weight in learned]
    if weighting == "record":
        return sum(weights) / len(weights)
    if weighting == "turn":
        return sum(weights)
    return float(sum(size * weight for size, weight in learned))
