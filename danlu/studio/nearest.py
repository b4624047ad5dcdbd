"""Which training records are most like a prompt, by the stretches of text that they share.

The index of a version (``data_index``) has its text folded; stretches of the prompt are looked for
there, the rarest first, as far as the index can tell without reading. The records that have the
rarest of them are read, and ranked by how much of the prompt's n-grams they hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from danlu.records import Record
from danlu.studio.data_index import RecordIndex
from danlu.workshop.likeness.text import fold, units

MOST_STRETCHES = 64
"""Stretches of which it is asked how rare they are."""
MOST_BYTES = 200_000_000
"""Of text is read; the rarest stretch is looked for however common it is."""
MOST_FOUND = 50_000
"""Records of one stretch; one that more have says little of any of them."""
COMMON = 1e-6
"""What such a stretch counts: only between records that are equal otherwise."""
WORD, CHARACTER, FULL = 4, 3, 12
"""How much a unit counts, and how much makes a stretch."""
UNSPACED = "\u0e00"
"""From Thai on there are scripts without spaces, whose units are single characters."""
READ = 40
"""Records that are read and ranked."""
LONGEST = 4000
"""Characters of a prompt that are looked at."""


@dataclass(frozen=True)
class Near:
    """A training record that is like a prompt.

    Attributes:
        record: Itself.
        share: Of the prompt's pairs of units, those that it has, 0 to 1.
    """

    record: Record
    share: float


def nearest(index: RecordIndex, prompt: str, count: int = 5) -> list[Near]:
    """Return the records most like a prompt, the most like first; none that share nothing.

    Args:
        index: Of the training records.
        prompt: What was asked.
        count: How many at most.
    """
    if not len(index):
        return []
    score, common = np.zeros(len(index)), np.zeros(len(index))
    wanted = [(stretch, index.places(stretch)) for stretch in stretches(prompt)]
    sizes = [sum(last - first for first, last in places) for _, places in wanted]
    read = 0
    for at in sorted(range(len(wanted)), key=sizes.__getitem__):
        read += sizes[at]
        if read > MOST_BYTES and (score.any() or common.any()):
            break
        found = index.search(*wanted[at], most=MOST_FOUND)
        if len(found):
            of = common if len(found) == MOST_FOUND else score
            of[found] += math.log(1 + len(index) / len(found))
    score += common * COMMON
    best = np.argsort(-score, kind="stable")[:READ]
    best = best[score[best] > 0]
    mine = _pairs(prompt)
    ranked = [
        Near(one, len(mine & _pairs(_text(one))) / max(1, len(mine)))
        for one in index.read(best.tolist())
    ]
    ranked.sort(key=lambda one: -one.share)
    return [one for one in ranked[:count] if one.share > 0]


def stretches(prompt: str) -> list[str]:
    """Return stretches of a prompt, spread evenly over it.

    Each has three words, or four characters of a script without spaces, or as much of both.

    Example:
        >>> stretches("What is the capital of France?")
        ['what is the', 'the capital of', 'capital of france']
        >>> stretches("法国的首都在哪里？"), stretches("用 Python 写一个排序")
        (['法国的首', '都在哪里'], ['用 python 写一', '一个排序'])
    """
    text = fold(prompt[:LONGEST])
    places = list(_places(text))
    found, first, weight = [], 0, 0
    for last, (_, end, own) in enumerate(places):
        weight += own
        if weight >= FULL:
            found.append(text[places[first][0] : end])
            # Words overlap by one, for what lies between two stretches is lost.
            first = last if own == WORD else last + 1
            weight = own if own == WORD else 0
    while places and first and weight < FULL:  # what is left at the end, with what is before it
        first -= 1
        weight += places[first][2]
    if places:
        found.append(text[places[first][0] : places[-1][1]])
    found = list(dict.fromkeys(found))
    step = max(1, math.ceil(len(found) / MOST_STRETCHES))
    return found[::step]


def _places(text: str) -> Iterator[tuple[int, int, int]]:
    """Yield each unit of a text: from, to, and how much it counts."""
    end = 0
    for unit in units(text):
        begin = text.index(unit, end)
        end = begin + len(unit)
        yield begin, end, CHARACTER if len(unit) == 1 and unit >= UNSPACED else WORD


def _text(record: Record) -> str:
    return "\n".join(message.content or "" for message in record.messages)


def _pairs(text: str) -> set[tuple[str, ...]]:
    """Return the pairs of neighbouring units; of a single unit, itself."""
    own = list(units(fold(text)))
    return set(pairwise(own)) if len(own) > 1 else {tuple(own)} if own else set()
