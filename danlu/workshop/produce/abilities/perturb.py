"""Ways in which people mistype: each finds places in a text, and what would stand there.

What a question hangs on is left alone: numbers, quotations, code, addresses, negations, and values
that are named. So the answer stays right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import regex

from danlu.workshop.produce.abilities.mistyped_words import (
    CHANGING,
    IN_ENGLISH,
    IN_PINYIN,
    READ_OTHERWISE,
    SMALL,
    SMALL_CHARACTERS,
    SOUND_ALIKE,
)
from danlu.workshop.produce.abilities.pinyin import homophones, pinyin
from danlu.workshop.produce.prompts import LANGUAGES, Language

Kind = Literal[
    "typos",
    "swaps",
    "drops",
    "homophones",
    "pinyin",
    "english",
    "width",
    "punctuation",
    "case",
]

_PROTECTED = regex.compile(
    # Lines of code below the first line.
    r"(?<=\n)(?:[ \t]{2,}\S|(?:def|for|if|while|import|from|return|class|print|SELECT|const|let|"
    r"var|function)\b[^\n]*[:(;{]|[^\n]*(?:[^<>=!\n]=|=>|\);|[{}]))[^\n]*|"
    # Code, addresses, quotations, what stands in braces or brackets.
    r"```.*?```|`[^`\n]*`|https?://\S+|\S+@\S+\.\S+|\"[^\"\n]*\"|“[^”\n]*”|‘[^’\n]*’|"
    r"「[^」\n]*」|《[^》\n]*》|【[^】\n]*】|\{[^{}\n]*\}|<[^<>\n]*>|\[[^\[\]\n]*\]|(?<!\w)'[^'\n]*'(?!\w)|"
    # Figures, names of variables, abbreviations, negations.
    r"[A-Za-z_]*[-−+]?\d[\w.,:%/-]*(?<![.,:])|\w*_\w+|\b[A-Z]{2,}\w*\b|"
    r"(?i:\b(?:not|no|never|none|nothing|without|except|unless|only|\w+n['’]t)\b)|"
    r"[不没无非别勿未莫仅只]|除了|以外|"
    # Numbers in words.
    r"(?i:\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|"
    r"hundreds?|thousands?|millions?|half|quarter|double|twice|first|second|third|fourth|fifth)\b)|"
    r"[〇零二三四五六七八九十百千万亿两半几]|一(?![个下些封则条段首篇句份])",
    regex.S,
)
_WORD = regex.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")
_LONG_WORD = regex.compile(r"\b[a-z]{4,}\b")
_HAN = regex.compile(r"\p{Han}")
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


_MARKS = regex.compile(r"[，。！？、；：]|[,.!?;:](?=\s|\Z)")
_TO_HALF = dict(zip("，。！？；：（）", ",.!?;:()", strict=True))


class Site(NamedTuple):
    """A place in a text, and what may stand there instead."""

    start: int
    end: int
    choices: Sequence[str]


class Perturbation(NamedTuple):
    """A way to mistype.

    Attributes:
        sites: Finds the places in a text between a start and an end.
        share: Of the places that are changed; at least one is.
        languages: Of texts that can be mistyped so.
    """

    sites: Callable[[str, int, int], Iterator[Site]]
    share: float
    languages: tuple[Language, ...] = LANGUAGES


def _neighbours() -> dict[str, str]:
    found: dict[str, str] = {}
    for row, keys in enumerate(_KEYS):
        for place, key in enumerate(keys):
            near = [keys[k] for k in (place - 1, place + 1) if 0 <= k < len(keys)]
            # Each row stands half a key to the right of the one above.
            near += [
                _KEYS[other][k]
                for other, ks in ((row - 1, (place, place + 1)), (row + 1, (place - 1, place)))
                if 0 <= other < len(_KEYS)
                for k in ks
                if 0 <= k < len(_KEYS[other])
            ]
            found[key] = "".join(near)
    return found


NEIGHBOURS = _neighbours()
"""The keys around each letter, on a QWERTY keyboard."""


def _typos(text: str, start: int, end: int) -> Iterator[Site]:
    for word in _LONG_WORD.finditer(text, start, end):
        for place in range(word.start() + 1, word.end()):
            letter = text[place]
            yield Site(place, place + 1, (*NEIGHBOURS[letter], letter * 2, ""))
    for place in range(start, end):
        if _HAN.match(text[place]):
            yield Site(place, place + 1, (text[place] * 2,))


def _swaps(text: str, start: int, end: int) -> Iterator[Site]:
    for word in _LONG_WORD.finditer(text, start, end):
        for place in range(word.start() + 1, word.end() - 1):
            if text[place] != text[place + 1]:
                yield Site(place, place + 2, (text[place + 1] + text[place],))
    for place, following in pairwise(range(start, end)):
        pair = text[place] + text[following]
        if _HAN.match(pair[0]) and _HAN.match(pair[1]) and pair[0] != pair[1]:
            yield Site(place, place + 2, (pair[::-1],))


def _drops(text: str, start: int, end: int) -> Iterator[Site]:
    for word in _WORD.finditer(text, start, end):
        if word[0].lower() in SMALL:
            stop = word.end() + (text[word.end() : word.end() + 1] == " ")
            yield Site(word.start(), stop, ("",))
    for place in range(start, end):
        if text[place] in SMALL_CHARACTERS:
            yield Site(place, place + 1, ("",))


def _homophones(text: str, start: int, end: int) -> Iterator[Site]:
    for word in _WORD.finditer(text, start, end):
        for alike in SOUND_ALIKE:
            if word[0].lower() in alike:
                others = [one for one in alike if one not in (word[0].lower(), *CHANGING)]
                if word[0][0].isupper():
                    others = [one.capitalize() for one in others]
                if others:
                    yield Site(word.start(), word.end(), others)
                    break
    for place in range(start, end):
        if same := homophones(text[place]):
            yield Site(place, place + 1, list(same))


def _pinyin(text: str, start: int, end: int) -> Iterator[Site]:
    """Find common words; where there are none, characters, since words cannot be told apart."""
    words = [word for word in IN_PINYIN if text.find(word, start, end) >= 0]
    for word in words or sorted({one for one in text[start:end] if pinyin(one)})[:3]:
        at = text.find(word, start, end)
        while at >= 0:
            spelled = READ_OTHERWISE.get(word) or pinyin(word) or word
            yield Site(at, at + len(word), (spelled,))
            at = text.find(word, at + len(word), end)


def _english(text: str, start: int, end: int) -> Iterator[Site]:
    for chinese, english in IN_ENGLISH.items():
        at = text.find(chinese, start, end)
        while at >= 0:
            yield Site(at, at + len(chinese), (english,))
            at = text.find(chinese, at + len(chinese), end)


def _width(text: str, start: int, end: int) -> Iterator[Site]:
    for word in _WORD.finditer(text, start, end):
        yield Site(word.start(), word.end(), (_full(word[0]),))
    for place in range(start, end):
        if text[place] in _TO_HALF:
            yield Site(place, place + 1, (_TO_HALF[text[place]],))
        elif text[place] in ",!?;:()" or (text[place] == "." and place + 1 == len(text)):
            yield Site(place, place + 1, (_full(text[place]),))


def _full(text: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


def _punctuation(text: str, start: int, end: int) -> Iterator[Site]:
    for mark in _MARKS.finditer(text, start, end):
        yield Site(mark.start(), mark.end(), ("",))


def _case(text: str, start: int, end: int) -> Iterator[Site]:
    for word in _WORD.finditer(text, start, end):
        if word[0] != word[0].lower():
            yield Site(word.start(), word.end(), (word[0].lower(),))
        elif len(word[0]) > 3:
            yield Site(word.start(), word.end(), (word[0].upper(), word[0].capitalize()))


PERTURBATIONS: Mapping[Kind, Perturbation] = {
    "typos": Perturbation(_typos, 0.03),
    "swaps": Perturbation(_swaps, 0.03),
    "drops": Perturbation(_drops, 0.3),
    "homophones": Perturbation(_homophones, 0.06),
    "pinyin": Perturbation(_pinyin, 0.3, ("zh",)),
    "english": Perturbation(_english, 0.6, ("zh",)),
    "width": Perturbation(_width, 0.3),
    "punctuation": Perturbation(_punctuation, 0.8),
    "case": Perturbation(_case, 0.3, ("en",)),
}
"""Shares are chosen so that a prompt of a line gets one to three changes."""


def perturbed(
    text: str, kind: Kind, chance: random.Random, keep: Sequence[str] = (), strength: float = 1.0
) -> str:
    """Return a text as somebody would mistype it; the same text if nothing in it can be.

    Args:
        text: What is asked.
        kind: How.
        chance: Draws places.
        keep: What must stay as it is, besides numbers, quotations, code and negations.
        strength: 2 changes twice as many places.

    Example:
        >>> perturbed("请问今天的天气怎么样？", "english", random.Random(0), keep=["怎么"])
        '请问今天的weather怎么样？'
        >>> perturbed("What is 17 + 4?", "case", random.Random(0))
        'what is 17 + 4?'
    """
    way = PERTURBATIONS[kind]
    found = [site for start, end in _open(text, keep) for site in way.sites(text, start, end)]
    if not found:
        return text
    count = max(1, round(way.share * strength * len(found)))
    taken: list[Site] = []
    for site in chance.sample(found, len(found)):
        if len(taken) == count:
            break
        if all(site.end < other.start or site.start > other.end for other in taken):
            taken.append(site)
    for site in sorted(taken, key=lambda one: -one.start):
        text = text[: site.start] + chance.choice(site.choices) + text[site.end :]
    return text.strip()


def _open(text: str, keep: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield start and end of what may be changed."""
    closed = [(found.start(), found.end()) for found in _PROTECTED.finditer(text)]
    for value in keep:
        for found in regex.finditer(regex.escape(value), text, regex.I) if value else ():
            closed.append((found.start(), found.end()))
    last = 0
    for start, end in sorted(closed):
        if start > last:
            yield last, start
        last = max(last, end)
    if last < len(text):
        yield last, len(text)
