"""Which training records are most like a prompt, by the stretches of text that they share.

The index of a version (``data_index``) has its text folded; stretches of the prompt are looked for
there, the rarest first, as far as the index can tell without reading. The records that have the
rarest of them are read, and ranked by how much of the prompt's n-grams they hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from danlu.records import Record
from danlu.studio.data_index import RecordIndex
from danlu.workshop.likeness.text import fold, has_han, units

MOST_STRETCHES = 64
"""Stretches of which it is asked how rare they are."""
MOST_BYTES = 400_000_000
"""Of text is read; the rarest stretch is looked for however common it is."""
MOST_FOUND = 100_000
"""Records of one stretch; one that more have says little of any of them."""
STRETCH_UNITS, STRETCH_HAN = 3, 4
"""Words, or Chinese characters, of a stretch."""
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
    score = np.zeros(len(index))
    wanted = [(stretch, index.places(stretch)) for stretch in stretches(prompt)]
    sizes = [sum(last - first for first, last in places) for _, places in wanted]
    read = 0
    for at in sorted(range(len(wanted)), key=sizes.__getitem__):
        read += sizes[at]
        if read > MOST_BYTES and score.any():
            break
        found = index.search(*wanted[at], most=MOST_FOUND)
        if len(found):
            score[found] += math.log(1 + len(index) / len(found))
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

    Example:
        >>> stretches("What is the capital of France?")
        ['what is the', 'the capital of']
        >>> stretches("法国的首都在哪里")
        ['法国的首', '都在哪里']
    """
    text = fold(prompt[:LONGEST])
    if has_han(text):
        size = STRETCH_HAN
        found = [text[at : at + size].strip() for at in range(0, len(text), size)]
    else:
        words = text.split(" ")
        size = min(STRETCH_UNITS, len(words))
        places = range(0, len(words) - size + 1, STRETCH_UNITS - 1)
        found = [" ".join(words[at : at + size]) for at in places]
    found = list(dict.fromkeys(one for one in found if one))
    step = max(1, math.ceil(len(found) / MOST_STRETCHES))
    return found[::step]


def _text(record: Record) -> str:
    return "\n".join(message.content or "" for message in record.messages)


def _pairs(text: str) -> set[tuple[str, ...]]:
    """Return the pairs of neighbouring units; of a single unit, itself."""
    own = list(units(fold(text)))
    return set(pairwise(own)) if len(own) > 1 else {tuple(own)} if own else set()
