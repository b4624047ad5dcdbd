"""What the pages of data show, made of versions and their indexes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

import numpy as np

from danlu.errors import StoreError
from danlu.records import Record
from danlu.studio.data_index import RecordIndex
from danlu.studio.datasets import BY_HAND, Counted, Difference
from danlu.workshop.store.store import Store
from danlu.workshop.store.version import Version

EXCERPT = 140
TOKEN_COLUMNS = ("tokens", "trained", "left_out")
MOST_COMPARED = 4000
"""Characters up to which texts are compared one by one; longer ones by lines."""


@dataclass(frozen=True)
class VersionRow:
    """One version in the list.

    Attributes:
        version: Itself.
        names: That point to it now.
        lane: Its column in the graph.
        through: Columns that a line goes straight through.
        down: Columns that its own lines go down to, one per parent.
        up: Whether a line comes from above.
    """

    version: Version
    names: list[str]
    lane: int = 0
    through: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)
    up: bool = False

    @property
    def words(self) -> str:
        """What a search looks in."""
        parts = [self.version.id, *self.names, self.version.manifest.operation.name]
        return " ".join(parts).casefold()


@dataclass(frozen=True)
class TypeRow:
    """One line of the tree: an area, or a task type in it.

    Attributes:
        name: Of the area or the task type.
        depth: 0 for an area, 1 for a task type.
        records: How many.
        characters: Of their messages and answers.
        loss: Sum of weights times characters learned, or of the weights of tokens where they are
            counted; None before the version is read.
        prompts: Lengths at 5, 50 and 95 percent; None before the version is read, and for areas.
        answers: Likewise.
        turns: Answers of the assistant; None as above.
        tokens: That the model reads; None where they are not counted.
        trained: That it learns; likewise.
        left_out: Records of which nothing is trained; likewise.
    """

    name: str
    depth: int
    records: int
    characters: int
    loss: float | None = None
    prompts: Mapping[str, int] | None = None
    answers: Mapping[str, int] | None = None
    turns: int | None = None
    tokens: int | None = None
    trained: int | None = None
    left_out: int | None = None


@dataclass(frozen=True)
class Line:
    """A record as a row of a table."""

    record: Record
    first: str
    last: str
    characters: int


def version_rows(store: Store, faults: list[StoreError] | None = None) -> list[VersionRow]:
    """Return all versions, newest first, laid out as a graph; ``faults`` as of the store."""
    names: dict[str, list[str]] = {}
    for name, history in store.names.all().items():
        names.setdefault(history[-1].version, []).append(name)
    versions = store.versions(faults)[::-1]
    known = {version.id for version in versions}
    open_: list[str | None] = []  # what each column leads down to
    rows = []
    for version in versions:
        here = [at for at, id_ in enumerate(open_) if id_ == version.id]
        lane = here[0] if here else _free(open_)
        for at in here:
            open_[at] = None
        parents = [one.id for one in version.manifest.parents if one.id in known]
        through = [at for at, id_ in enumerate(open_) if id_ is not None]
        down = []
        for parent in parents:
            # A parent that another column leads to already is joined there.
            at = open_.index(parent) if parent in open_ else _free(open_, lane)
            open_[at] = parent
            down.append(at)
        row = VersionRow(version, names.get(version.id, []), lane, through, down, bool(here))
        rows.append(row)
    return rows


def _free(lanes: list[str | None], wanted: int | None = None) -> int:
    """Return a column that leads nowhere: the wanted one, the first, or a new one."""
    if wanted is not None and wanted < len(lanes) and lanes[wanted] is None:
        return wanted
    if None in lanes:
        return lanes.index(None)
    lanes.append(None)
    return len(lanes) - 1


def type_rows(
    version: Version, index: RecordIndex | None, counted: Counted | None = None
) -> list[TypeRow]:
    """Return the tree of task types, areas with what is in them."""
    figures: dict[str, Any] = index.meta["figures"] if index else {}
    losses = _losses(index, counted)
    tokens = counted.task_types if counted else {}
    areas: dict[str, list[TypeRow]] = {}
    for name, counts in version.manifest.task_types.items():
        one, own = figures.get(name, {}), tokens.get(name, {})
        row = TypeRow(
            name,
            1,
            counts.records,
            counts.characters,
            losses.get(name, 0.0) if losses is not None else None,
            one.get("prompt_characters"),
            one.get("answer_characters"),
            one.get("turns"),
            *(int(own.get(what, 0)) if counted else None for what in TOKEN_COLUMNS),
        )
        areas.setdefault(name.partition("/")[0], []).append(row)
    rows = []
    for area, inside in areas.items():
        rows.append(_area(area, inside))
        rows += inside
    return rows


def _losses(index: RecordIndex | None, counted: Counted | None) -> dict[str, float] | None:
    """Return each task type's part of the loss: by tokens where they are counted."""
    if counted:
        return {name: own["loss"] for name, own in counted.task_types.items()}
    if index is None:
        return None
    sums = np.bincount(
        index.column("type"), weights=index.column("loss"), minlength=len(index.types)
    )
    return dict(zip(index.types, sums.tolist(), strict=True))


def _area(name: str, inside: Sequence[TypeRow]) -> TypeRow:
    def total(what: str) -> Any:
        values = [getattr(row, what) for row in inside]
        return None if None in values else sum(values)

    return TypeRow(
        name,
        0,
        total("records"),
        total("characters"),
        total("loss"),
        **{what: total(what) for what in TOKEN_COLUMNS},
    )


def line_of(record: Record, characters: int) -> Line:
    """Return a record's row: its first question or text, and its last answer."""
    users = [message for message in record.messages if message.role in ("user", "text")]
    first = (users or record.messages)[0].content or ""
    last = record.messages[-1].content or "" if len(record.messages) > 1 else ""
    if record.responses:
        last = record.responses[0].content
    return Line(record, _excerpt(first), _excerpt(last), characters)


def _excerpt(text: str) -> str:
    text = " ".join(text[: 4 * EXCERPT].split())
    return text if len(text) <= EXCERPT else f"{text[: EXCERPT - 1]}…"


def undoable(version: Version) -> bool:
    """Whether a version is one edit by hand away from its only parent."""
    manifest = version.manifest
    return manifest.operation.name in BY_HAND and len(manifest.parents) == 1


def short(settings: Mapping[str, Any]) -> str:
    """Return what settings say, without those that say nothing."""

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            inner = {name: told(one) for name, one in value.items() if name != "taxonomy"}
            return {name: one for name, one in inner.items() if one not in (None, [], {}, "")}
        return value

    plain = told(dict(settings))
    return json.dumps(plain, ensure_ascii=False) if plain else ""


@dataclass
class TypeChange:
    """One task type in two versions; loss is the share of it, 0 to 1."""

    name: str
    before: int = 0
    after: int = 0
    loss_before: float = 0.0
    loss_after: float = 0.0
    added: int = 0
    removed: int = 0
    changed: int = 0
    retyped: int = 0


def type_changes(
    before: RecordIndex, after: RecordIndex, found: Difference
) -> tuple[list[TypeChange], dict[str, int]]:
    """Return the difference by task type, and how many records of each kind there are."""
    rows: dict[str, TypeChange] = {}

    def counts(index: RecordIndex, at: Any, weights: Any = None) -> dict[str, float]:
        own = index.column("type")[at]
        sums = np.bincount(own, weights=weights, minlength=len(index.types))
        return dict(zip(index.types, sums.tolist(), strict=True))

    def put(name: str, values: Mapping[str, float], whole: float = 0.0) -> None:
        for task_type, value in values.items():
            row = rows.setdefault(task_type, TypeChange(task_type))
            setattr(row, name, value / whole if whole else value)

    everything = slice(None)
    for side, index in (("before", before), ("after", after)):
        put(side, counts(index, everything))
        loss = index.column("loss")
        put(f"loss_{side}", counts(index, everything, loss), float(loss.sum()))
    put("removed", counts(before, found.removed))
    for kind in ("added", "changed", "retyped"):
        put(kind, counts(after, getattr(found, kind)))
    kinds = ("added", "removed", "changed", "retyped")
    total = {kind: len(getattr(found, kind)) for kind in kinds}
    return [rows[name] for name in sorted(rows)], total


Piece = tuple[str, str]
"""What is done with a piece of text (same, gone, new), and the piece."""


def text_pieces(before: str, after: str) -> list[Piece]:
    """Return two texts as one, in pieces.

    Example:
        >>> text_pieces("天气好", "天气不好")
        [('same', '天气'), ('new', '不'), ('same', '好')]
    """
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    first: Sequence[str] = before[start : len(before) - end]
    second: Sequence[str] = after[start : len(after) - end]
    is_long = len(first) + len(second) > MOST_COMPARED
    if is_long:
        first, second = str(first).splitlines(True), str(second).splitlines(True)
    found: list[Piece] = [("same", before[:start])]
    # Without its heuristic for what is frequent, many equal lines take the square of their number.
    for tag, a, b, c, d in SequenceMatcher(None, first, second, autojunk=is_long).get_opcodes():
        if tag == "equal":
            found.append(("same", "".join(first[a:b])))
        else:
            found += [("gone", "".join(first[a:b])), ("new", "".join(second[c:d]))]
    found.append(("same", before[len(before) - end :]))
    return [piece for piece in found if piece[1]]


def _common(one: str, other: str) -> int:
    """Return with how many equal characters two texts begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def compared(before: Record, after: Record) -> list[tuple[str, list[Piece]]]:
    """Return the messages and answers of a record before and after, each in pieces."""
    found = []
    for one, other in zip_longest(_texts(before), _texts(after), fillvalue=("", "")):
        found.append((other[0] or one[0], text_pieces(one[1], other[1])))
    return found


def _texts(record: Record) -> list[tuple[str, str]]:
    texts = [(message.role, message.content or "") for message in record.messages]
    return texts + [("answer", response.content) for response in record.responses]
