"""Training and evaluation parts that share no prompt and no conversation.

An evaluation says nothing of a prompt that was trained nearly word for word. So records are first
put into groups that must not be torn apart: the same prompt, nearly the same prompt, turns of one
conversation. Groups, not records, are then drawn, and each task type gets its share.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import ClassVar, Literal, NamedTuple

from danlu.records import Record
from danlu.sequences.split import held_out_count
from danlu.workshop.execution.blocks import Block, blocks_of
from danlu.workshop.execution.executor import HERE, Executor
from danlu.workshop.likeness.near import near_groups
from danlu.workshop.likeness.text import fold
from danlu.workshop.store.decision import Decision, Progress, drop, keep
from danlu.workshop.store.store import Store, no_progress
from danlu.workshop.store.version import Version

Part = Literal["train", "eval"]

NearGroups = Callable[[Sequence[str]], Iterable[int]]
"""Gives each text the number of its group: equal numbers, nearly equal texts."""

NEAR = 0.9
"""At 0.8 are many prompts of one form, a long question with a short name in it; at 0.9 mostly those
with typing errors or other punctuation."""

CONVERSATION_KEYS = (
    "conversation_id",
    "conversation",
    "conv_id",
    "dialogue_id",
    "dialog_id",
    "session_id",
    "thread_id",
    "message_tree_id",
)
"""Under which ``meta`` says of which conversation a record is."""


class Parts(NamedTuple):
    """The two versions that a split makes."""

    train: Version
    eval: Version


def equal_groups(texts: Sequence[str]) -> Iterable[int]:
    """Group texts that are equal, apart from case, width, spaces and traditional characters.

    Example:
        >>> list(equal_groups(["Hi  there", "電腦", "hi there", "电脑"]))
        [0, 1, 0, 1]
    """
    first: dict[str, int] = {}
    return [first.setdefault(fold(text), number) for number, text in enumerate(texts)]


def groups_of(near: float) -> NearGroups:
    """Return what groups prompts that are at least so alike."""
    return equal_groups if near == 1 else partial(near_groups, threshold=near)


@dataclass(frozen=True)
class Split:
    """One part of a split.

    Attributes:
        part: Which: the other records are dropped from it, by the rule ``other part``.
        share: Of each task type, in records, that goes to ``eval``.
        seed: Another seed draws other groups.
        near: Jaccard similarity from which prompts are near-duplicates and stay together; at 1 only
            equal ones do.
        drawn: What was drawn before, for the second part; by record id.
        executor: Looks at the records.
    """

    name: ClassVar[str] = "split"
    revision: ClassVar[int] = 2

    part: Part
    share: float = 0.05
    seed: int = 0
    near: float = NEAR
    drawn: dict[str, Part] = field(default_factory=dict, metadata={"setting": False})
    executor: Executor = field(default=HERE, metadata={"setting": False})

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep the records of the part."""
        if not self.drawn:
            near = groups_of(self.near)
            self.drawn.update(draw(records, self.share, self.seed, near, self.executor))
        for record in records:
            other = self.drawn[record.id] != self.part
            yield drop(record, "other part", self.drawn[record.id]) if other else keep(record)


def split(
    store: Store,
    version: Version,
    *,
    share: float,
    seed: int = 0,
    near: float = NEAR,
    name: str | None = None,
    progress: Progress = no_progress,
) -> Parts:
    """Make two versions of one.

    Args:
        store: Where they are made.
        version: What is split.
        share: Of each task type that goes to ``eval``, above 0 and below 1.
        seed: Another seed draws other groups.
        near: Jaccard similarity from which prompts stay together; 1 groups equal ones only.
        name: The parts are named ``<name>-train`` and ``<name>-eval``.
        progress: Told how far the work is.
    """
    drawn: dict[str, Part] = {}
    made = []
    for part in ("train", "eval"):
        operation = Split(part, share, seed, near, drawn, store.executor)
        called = f"{name}-{part}" if name else None
        made.append(store.apply(operation, version, name=called, progress=progress))
    return Parts(*made)


def draw(
    records: Iterable[Record],
    share: float,
    seed: int,
    near_groups: NearGroups = equal_groups,
    executor: Executor = HERE,
) -> dict[str, Part]:
    """Say of every record which part it goes to.

    Groups are gone through in the order of a hash of the seed and their lowest id, and one is held
    out where none of its task types would have more than its share. So each task type comes as
    near to its share as its groups allow, and records that are added change little.

    Returns:
        The part, by id, in the order of the records.
    """
    ids, task_types, groups = _grouped(records, near_groups, executor)
    members: dict[int, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    wanted = {name: held_out_count(n, share) for name, n in Counter(task_types).items()}
    held: Counter[str] = Counter()
    held_out: set[int] = set()
    marks = {group: _mark(min(ids[p] for p in inside), seed) for group, inside in members.items()}
    for group in sorted(members, key=marks.__getitem__):
        counts = Counter(task_types[position] for position in members[group])
        if all(held[name] + count <= wanted[name] for name, count in counts.items()):
            held.update(counts)
            held_out.add(group)
    return {
        ids[position]: "eval" if group in held_out else "train"
        for position, group in enumerate(groups)
    }


class _Seen(NamedTuple):
    """What a split must know of a record."""

    id: str
    task_type: str
    prompt: str
    conversations: list[tuple[str, str]]
    stages: list[bytes]


def _look(block: Block) -> list[_Seen]:
    return [
        _Seen(
            record.id,
            record.task_type,
            prompt_text(record),
            list(_conversations(record)),
            _stages(record),
        )
        for record in block.records()
    ]


def _grouped(
    records: Iterable[Record], near_groups: NearGroups, executor: Executor
) -> tuple[list[str], list[str], list[int]]:
    """Return ids, task types, and the number of each record's group."""
    ids: list[str] = []
    task_types: list[str] = []
    prompts: list[str] = []
    joined = _Joined()
    whole: dict[bytes, int] = {}
    earlier: list[tuple[int, bytes]] = []
    seen = chain.from_iterable(executor.map(_look, blocks_of(records)))
    for position, one in enumerate(seen):
        ids.append(one.id)
        task_types.append(one.task_type)
        prompts.append(one.prompt)
        joined.add()
        for key in one.conversations:
            joined.join(position, joined.named.setdefault(key, position))
        *before, last = one.stages
        joined.join(position, whole.setdefault(last, position))
        earlier += [(position, stage) for stage in before]
    for position, stage in earlier:
        if stage in whole:
            joined.join(position, whole[stage])
    first: dict[int, int] = {}
    for position, number in enumerate(near_groups(prompts)):
        joined.join(position, first.setdefault(int(number), position))
    return ids, task_types, [joined.find(position) for position in range(len(ids))]


def prompt_text(record: Record) -> str:
    """Return what is asked: the user's words before the last answer; of a document, its text.

    System prompts, which many records share, are left out.

    Example:
        >>> from danlu.records import Message
        >>> turns = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Ho"))
        >>> prompt_text(Record("1", "a/b", turns))
        'Hi'
    """  # noqa: E501
    asked = [m.content or "" for m in record.messages if m.role not in ("system", "assistant")]
    return "\n".join(asked)


def _conversations(record: Record) -> Iterator[tuple[str, str]]:
    """Name the conversations that a record says it is of."""
    for key in CONVERSATION_KEYS:
        value = record.meta.get(key)
        if isinstance(value, str | int) and value != "":
            yield key, str(value)
    # A row that holds several records, such as a tree of replies, names them <id>#1, <id>#2 ...
    row, hash_mark, number = record.id.rpartition("#")
    if hash_mark and number.isdecimal():
        yield "row", f"{record.source} {row}"


def _stages(record: Record) -> list[bytes]:
    """Hash the conversation up to each answer: one cut into its turns has these as records."""
    whole = hashlib.blake2b(digest_size=8)
    stages = []
    for message in record.messages:
        if message.role == "system":
            continue
        text = f"{message.role} {message.content} {message.extra or ''}"
        whole.update(f"{len(text)} {text}".encode("utf-8", "replace"))
        if message.role == "assistant":
            stages.append(whole.digest())
    return (
        stages if stages and record.messages[-1].role == "assistant" else [*stages, whole.digest()]
    )


class _Joined:
    """Sets of positions that are joined step by step (union-find)."""

    def __init__(self) -> None:
        self.named: dict[tuple[str, str], int] = {}
        self._up: list[int] = []

    def add(self) -> None:
        self._up.append(len(self._up))

    def find(self, position: int) -> int:
        while self._up[position] != position:
            self._up[position] = self._up[self._up[position]]
            position = self._up[position]
        return position

    def join(self, one: int, other: int) -> None:
        one, other = self.find(one), self.find(other)
        self._up[max(one, other)] = min(one, other)


def _mark(name: str, seed: int) -> bytes:
    salt = (seed % (1 << 64)).to_bytes(8)
    return hashlib.blake2b(name.encode(), digest_size=8, salt=salt).digest()
