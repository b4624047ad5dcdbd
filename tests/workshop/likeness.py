"""Likeness by its definition, one pair at a time: what the fast ways are held to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from danlu.records import Message, Record
from danlu.workshop.likeness.shingles import shingle_length


def record(number: int, prompt: str, answer: str = "", task_type: str = "a/b", **more) -> Record:
    turns = [Message("user", prompt)]
    if answer:
        turns.append(Message("assistant", answer))
    return Record(f"r{number}", task_type, tuple(turns), **more)


def quiet(stage: str, done: int, total: int | None) -> None:
    assert total is None or 0 <= done <= total


def shingle_jaccard(text: str, other: str) -> float:
    """Of folded texts."""
    length = min(shingle_length(len(text)), shingle_length(len(other)))
    if not length:
        return float(text == other)
    one, two = (
        {whole[place : place + length] for place in range(len(whole) - length + 1)}
        for whole in (text, other)
    )
    return len(one & two) / len(one | two)


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for unit in one:
        above = row
        row = [0]
        for place, other_unit in enumerate(other):
            same = above[place] + 1 if unit == other_unit else 0
            row.append(max(same, above[place + 1], row[place]))
    return row[-1]


def kept_by_hand(
    count: int,
    alike: Callable[[int, int], float],
    meets: Callable[[float], bool],
    same: Callable[[int], object] | None = None,
) -> list[tuple[int, float]]:
    """Return the partner of each, -1 if it is kept, and how alike they are.

    What is the same as another, if anything is, goes its way.
    """
    found: list[tuple[int, float]] = []
    first: dict[object, int] = {}
    for number in range(count):
        if same is not None and (one := first.setdefault(same(number), number)) != number:
            found.append((one, 1.0) if found[one][0] < 0 else found[one])
            continue
        best, most = -1, 0.0
        for earlier in range(number):
            if found[earlier][0] < 0:
                value = alike(earlier, number)
                if meets(value) and value > most:
                    best, most = earlier, value
        found.append((best, most))
    return found
