"""Where two answers differ, character by character."""

from __future__ import annotations

from typing import NamedTuple

from rapidfuzz.distance import Indel

LONGEST = 20_000
"""Characters of an answer that are compared; what comes after counts as differing if it does."""
LEAST_ALIKE = 0.25
"""Answers that share less of their characters are two texts, not one with changes."""


class Piece(NamedTuple):
    """A part of an answer.

    Attributes:
        text: Of it.
        differs: Whether the other answer lacks it.
    """

    text: str
    differs: bool


class Differing(NamedTuple):
    """Two answers in pieces; the pieces of a side, joined, are its answer.

    Attributes:
        a: Of the first.
        b: Of the second.
    """

    a: tuple[Piece, ...]
    b: tuple[Piece, ...]


def differing(a: str, b: str) -> Differing:
    """Mark what only one of two answers has.

    The marks are those of the fewest insertions and deletions of characters, so that Chinese
    differs by the character. Letters that two words share by chance are no common ground: a common
    piece within a word, shorter than the differences at its sides, is marked too.

    Example:
        >>> differing("今天下雨", "今天下雪").b
        (Piece(text='今天下', differs=False), Piece(text='雪', differs=True))
    """
    if a == b:
        return Differing(_pieces([(a, False)]), _pieces([(b, False)]))
    start, others = a[:LONGEST], b[:LONGEST]
    if Indel.normalized_similarity(start, others) < LEAST_ALIKE:
        return Differing(_pieces([(a, True)]), _pieces([(b, True)]))
    parts = [
        (start[one.src_start : one.src_end], others[one.dest_start : one.dest_end], one.tag)
        for one in Indel.opcodes(start, others)
    ]
    runs = _joined([(left, right, tag != "equal") for left, right, tag in parts])
    kept = [
        (left, right, differs or _by_chance(runs, place))
        for place, (left, right, differs) in enumerate(runs)
    ]
    kept.append((a[LONGEST:], b[LONGEST:], a[LONGEST:] != b[LONGEST:]))
    whole = _joined(kept)
    return Differing(
        _pieces([(left, differs) for left, _, differs in whole]),
        _pieces([(right, differs) for _, right, differs in whole]),
    )


_Run = tuple[str, str, bool]


def _joined(runs: list[_Run]) -> list[_Run]:
    """Join neighbours of one kind."""
    found: list[_Run] = []
    for left, right, differs in runs:
        if found and found[-1][2] == differs:
            left, right = found[-1][0] + left, found[-1][1] + right
            found.pop()
        found.append((left, right, differs))
    return found


def _by_chance(runs: list[_Run], place: int) -> bool:
    """Whether an equal run is a few letters within words that differ; Chinese never is."""
    text = runs[place][0]
    if not (0 < place < len(runs) - 1) or not text.isascii() or not text.isalnum():
        return False
    around = [max(len(left), len(right)) for left, right, _ in (runs[place - 1], runs[place + 1])]
    return len(text) < min(4, max(around))


def _pieces(parts: list[tuple[str, bool]]) -> tuple[Piece, ...]:
    return tuple(Piece(text, differs) for text, differs in parts if text)
