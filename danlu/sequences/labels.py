"""The classes of records: read from a column or from the answer, numbered, kept.

A record's class is what its column ``label`` (or ``labels``) says and, where it has none, its last
answer: any data of questions with short answers can be learned as classes. Several classes are a
list, the JSON text of one, or a text with a separator between them.
"""

from __future__ import annotations

import json
import re
import zipfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from danlu.errors import RecordError, RunError, nearest
from danlu.records.record import Record

COLUMNS = ("label", "labels")
COMMAS = (",", "，", "、")
"""All of them separate classes where a comma does."""
NO_CLASS = "no class"
MOST_CLASSES = 1000
"""Classes that are found in data at most; more are named in the recipe, on purpose."""
FEW_RECORDS = 20
"""With fewer records, each may have a class of its own."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes of all records of an input, in its order. N records, C classes.

    Attributes:
        names: The classes' names, sorted; numbers where all are numbers.
        offsets: int64 ``(N + 1,)``: record n has ``numbers[offsets[n]:offsets[n + 1]]``.
        numbers: int32: index of a class in ``names``, one record after another.
    """

    names: tuple[str, ...]
    offsets: NDArray[np.int64]
    numbers: NDArray[np.int32]

    def at(self, position: int) -> tuple[int, ...]:
        """Return the numbers of the classes of the record at a position of the input."""
        own = self.numbers[self.offsets[position] : self.offsets[position + 1]]
        return tuple(own.tolist())

    def counts(self, positions: Iterable[int]) -> NDArray[np.int64]:
        """Count how many of some records are of each class, ``(C,)``."""
        counts = np.zeros(len(self.names), np.int64)
        for position in positions:
            counts[list(self.at(position))] += 1
        return counts

    def save(self, file: Path) -> None:
        """Write them to an ``.npz`` file."""
        names = np.frombuffer(json.dumps(self.names).encode(), np.uint8)
        np.savez(file, names=names, offsets=self.offsets, numbers=self.numbers)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what ``save`` has written.

        Raises:
            RunError: If it is not there or broken.
        """
        try:
            with np.load(file, allow_pickle=False) as kept:
                names = tuple(json.loads(kept["names"].tobytes()))
                return cls(names, kept["offsets"], kept["numbers"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise RunError(
                f"the classes of the prepared data cannot be read ({error}); begin anew with "
                "--overwrite.",
                where=str(file),
            ) from error


class LabelReader:
    """Reads the classes of records one after another.

    Args:
        classes: All classes there are; None takes them as they are found.
        multi_label: A record has any number of classes, not exactly one.
        separator: With ``multi_label``: what stands between classes written in one text.
    """

    def __init__(
        self, classes: Sequence[str] | None, *, multi_label: bool, separator: str = ","
    ) -> None:
        self._closed = classes is not None
        self._known = {name: number for number, name in enumerate(classes or ())}
        self._multi_label = multi_label
        self._separator = separator
        self._numbers = array("i")
        self._ends = array("q", [0])
        self._labelled = 0

    def read(self, record: Record) -> bool:
        """Take the next record of the input; False if it says nothing of a class.

        Raises:
            RecordError: If what it says cannot be read, is no class, or is one class too many.
        """
        names = record_labels(record, multi_label=self._multi_label, separator=self._separator)
        for name in names or ():
            if name not in self._known:
                self._meet(name, record)
            self._numbers.append(self._known[name])
        self._ends.append(len(self._numbers))
        self._labelled += names is not None
        return names is not None

    def finish(self) -> Labels:
        """Return what was read, with the classes in their order.

        Raises:
            RecordError: If classes were found, and they are not what one learns to tell apart.
        """
        numbers, offsets = np.array(self._numbers, np.int32), np.array(self._ends, np.int64)
        names = tuple(self._known)
        if self._closed:
            return Labels(names, offsets, numbers)
        if self._labelled:
            self._check_found(names)
        order = sorted(names, key=_numeric if all(map(_is_number, names)) else str)
        place = {name: number for number, name in enumerate(order)}
        renumber = np.array([place[name] for name in names], np.int32)
        return Labels(tuple(order), offsets, renumber[numbers] if names else numbers)

    def _meet(self, name: str, record: Record) -> None:
        """Take up a new class, or refuse it."""
        if self._closed:
            near = nearest(name, self._known)
            shown = ", ".join(map(repr, list(self._known)[:8]))
            more = f" and {len(self._known) - 8:,} more" if len(self._known) > 8 else ""
            hint = f"Did you mean {near!r}? " if near else ""
            raise RecordError(
                f"its class {name[:80]!r} is none of those to be learned: {shown}{more}. {hint}"
                "Mend the record, or name all classes in objective.classes.",
                where=f"record {record.id}",
            )
        if len(self._known) == MOST_CLASSES:
            some = ", ".join(repr(one[:40]) for one in list(self._known)[:3])
            raise RecordError(
                f"the training data has more than {MOST_CLASSES:,} classes, such as {some}. Are "
                "these answers, and not classes? If they are classes, name them in "
                "objective.classes.",
                where="data.train",
            )
        self._known[name] = len(self._known)

    def _check_found(self, names: tuple[str, ...]) -> None:
        if len(names) < (1 if self._multi_label else 2):
            found = f"one class only, {names[0]!r}" if names else "no class at all"
            raise RecordError(
                f"the training data has {found}: there is nothing to tell apart. Add records of "
                "other classes, or name all classes in objective.classes.",
                where="data.train",
            )
        if self._labelled >= FEW_RECORDS and len(names) > self._labelled / 2:
            some = ", ".join(repr(one[:40]) for one in names[:3])
            raise RecordError(
                f"{self._labelled:,} records have {len(names):,} classes, nearly each its own, "
                f"such as {some}. These are answers and no classes: learn them with sft-lora, map "
                "the column that holds the class (columns: {label: …}), or name the classes in "
                "objective.classes.",
                where="data.train",
            )


def record_labels(record: Record, *, multi_label: bool, separator: str) -> tuple[str, ...] | None:
    """Return the names of a record's classes; None if it says nothing of them.

    Args:
        record: With a column ``label`` or ``labels`` in ``meta``, or with an answer at its end.
        multi_label: Any number of classes, not exactly one.
        separator: What stands between classes in a text.

    Raises:
        RecordError: If what it says is no class.

    Example:
        >>> from danlu.records.record import Message
        >>> asked = Message("user", "Who won yesterday?")
        >>> answered = Record("1", "a/b", (asked, Message("assistant", " yes ")))
        >>> record_labels(answered, multi_label=False, separator=",")
        ('yes',)
        >>> tagged = Record("2", "a/b", (asked,), meta={"labels": ["sport", "news"]})
        >>> record_labels(tagged, multi_label=True, separator=",")
        ('sport', 'news')
    """
    given = _given(record, multi_label)
    if given is None:
        return None
    try:
        names = _names(given, multi_label, separator)
    except RecordError as error:
        raise RecordError(error.message, where=f"record {record.id}") from error
    if not multi_label and len(names) != 1:
        raise RecordError(
            f"it has {len(names)} classes ({', '.join(names)}), and one was to be learned. Set "
            "objective.multi_label: true, or give it one.",
            where=f"record {record.id}",
        )
    return tuple(dict.fromkeys(names))


def has_label_column(record: Record) -> bool:
    """Whether a record's class stands in a column, so that all its messages are to be read."""
    return any(record.meta.get(column) is not None for column in COLUMNS)


def _given(record: Record, multi_label: bool) -> Any:
    for column in reversed(COLUMNS) if multi_label else COLUMNS:
        if (value := record.meta.get(column)) is not None:
            return value
    if record.responses or not record.messages or record.messages[-1].role != "assistant":
        return None
    return record.messages[-1].content


def _names(given: Any, multi_label: bool, separator: str) -> list[str]:
    if isinstance(given, str) and multi_label:
        text = given.strip()
        if text.startswith("["):
            try:
                given = json.loads(text)
            except ValueError as error:
                raise RecordError(f"its classes are no JSON list: {error}.") from error
        else:
            marks = COMMAS if separator == "," else (separator,)
            parts = re.split("|".join(map(re.escape, marks)), text)
            given = [part for part in parts if part.strip()]
    return [_name(one) for one in (given if isinstance(given, list) else [given])]


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise RecordError(f"its class is {value!r}; it must be text or a whole number.")
    if not value.strip():
        raise RecordError("its class is empty.")
    return value.strip()


def _is_number(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _numeric(name: str) -> Any:
    return int(name)
