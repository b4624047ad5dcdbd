"""A text as words, in scripts with spaces and without.

Where spaces say nothing, words are guessed: known ones first, then what stands in many different
neighbourhoods in the training prompts (accessor variety: Feng et al. 2004, "Accessor Variety
Criteria for Chinese Word Extraction"). A guess that is wrong costs little, for records are then
searched by characters, not by words.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import regex
import yaml

from danlu.workshop.likeness.text import has_han

Kind = Literal["name", "number", "content", "function"]
"""``name``: of one thing; ``content``: what is asked of it; ``function``: what joins the two."""

LONGEST = 4
"""Characters of a guessed word."""
FEWEST_NEIGHBOURS = 3
"""Different ones that a guessed word must have, on either side."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_PIECE = regex.compile(
    rf"(?P<run>[{_UNSPACED}]+)|(?P<number>\d+(?:[.,:]\d+)*)|(?P<word>[[\w\p{{M}}]--[{_UNSPACED}\d]]+)",
    regex.VERSION1,
)
_JOINS_NAMES = re.compile(r"[ \u00a0\-·]")
_SENTENCE_ENDS = ".!?。！？:：\n\"“‘'(（"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text.

    Attributes:
        text: As it is written.
        start: Where it begins.
        end: Where it ends.
        kind: What it is, as far as one can tell without grammar.
    """

    text: str
    start: int
    end: int
    kind: Kind

    @property
    def is_han(self) -> bool:
        """Whether it is written in Chinese characters."""
        return has_han(self.text)


@dataclass(frozen=True)
class Known:
    """What is known of words without any data; see ``data/words.yaml``.

    Attributes:
        function: Words that carry little meaning.
        negated: Chinese verbs and how they are denied.
        auxiliaries: English verbs that ``not`` follows.
        names: Pairs of an English and a Chinese name.
        relations: Pairs of an English and a Chinese word for what is asked of a thing.
    """

    function: frozenset[str]
    negated: Mapping[str, str]
    auxiliaries: frozenset[str]
    names: tuple[tuple[str, str], ...]
    relations: tuple[tuple[str, str], ...]
    _other: Mapping[str, str] = field(default_factory=dict)
    _names: frozenset[str] = frozenset()

    def translated(self, word: str) -> str | None:
        """Return a word in the other language; None if it is not known.

        Example:
            >>> known_words().translated("capital"), known_words().translated("日内瓦")
            ('首都', 'Geneva')
        """
        return self._other.get(word.casefold())

    def kind_of(self, word: str) -> Kind | None:
        """Return what a word is, if it is in the lists."""
        if word.casefold() in self.function:
            return "function"
        if word.casefold() not in self._other:
            return None
        return "name" if word.casefold() in self._names else "content"


@cache
def known_words() -> Known:
    """Read the shipped lists, once."""
    tree = yaml.safe_load((Path(__file__).parent / "data" / "words.yaml").read_text("utf-8"))
    names = tuple((one, other) for one, other in tree["names"])
    relations = tuple((one, other) for one, other in tree["relations"])
    other = {}
    for en, zh in (*names, *relations):
        other[en.casefold()], other[zh] = zh, en
    return Known(
        frozenset(" ".join(tree["function"].values()).split()),
        tree["negation"]["zh"],
        frozenset(tree["negation"]["en"]),
        names,
        relations,
        other,
        frozenset(word.casefold() for pair in names for word in pair),
    )


class Vocabulary:
    """What training prompts say about words.

    Args:
        texts: Prompts; gone through once.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._lower: set[str] = set()
        self._named: set[str] = set()
        left: dict[str, set[str]] = defaultdict(set)
        right: dict[str, set[str]] = defaultdict(set)
        edge = 0
        for text in texts:
            for piece in _PIECE.finditer(text):
                run = piece["run"]
                if run is None:
                    if piece[0].islower():
                        self._lower.add(piece[0])
                    elif not _begins_sentence(text[: piece.start()]):
                        self._named.add(piece[0])
                    continue
                for start in range(len(run)):
                    for end in range(start + 1, min(len(run), start + LONGEST) + 1):
                        edge += 1  # each end of a run is a neighbour like no other
                        left[run[start:end]].add(run[start - 1] if start else f"#{edge}")
                        right[run[start:end]].add(run[end] if end < len(run) else f"#{edge}")
        self._variety = {
            gram: variety
            for gram in left
            if (variety := min(len(left[gram]), len(right[gram]))) >= FEWEST_NEIGHBOURS
        }

    def is_named(self, word: str) -> bool:
        """Whether a word has its capital letter inside a sentence too, and never goes without."""
        return word in self._named and word.lower() not in self._lower

    def cut(self, run: str) -> list[str]:
        """Cut a run of characters without spaces into words: the way of the highest score.

        Example:
            >>> Vocabulary().cut("葡萄牙的首都是哪里")
            ['葡萄牙', '的', '首都', '是', '哪里']
        """
        best: list[tuple[float, int]] = [(0.0, 0)]
        for end in range(1, len(run) + 1):
            options = [
                (best[start][0] + self._score(run[start:end]), start)
                for start in range(max(0, end - max(LONGEST, _longest_known())), end)
            ]
            best.append(max(options))
        cuts, end = [], len(run)
        while end:
            start = best[end][1]
            cuts.append(run[start:end])
            end = start
        return self._joined(cuts[::-1])

    def _score(self, word: str) -> float:
        known = known_words()
        if known.kind_of(word):
            return 4.0 * len(word) - 2.0
        if len(word) == 1:
            return 0.0
        holds = known.function
        if word in self._variety and word[0] not in holds and word[-1] not in holds:
            return len(word) * math.log(self._variety[word])
        return -1.0 * len(word)

    def _joined(self, cuts: Sequence[str]) -> list[str]:
        """Make one word of neighbouring single characters that nobody knows."""
        joined: list[str] = []
        was_loose = False
        for cut in cuts:
            is_loose = len(cut) == 1 and known_words().kind_of(cut) is None
            if is_loose and was_loose and len(joined[-1]) < LONGEST:
                joined[-1] += cut
            else:
                joined.append(cut)
            was_loose = is_loose
        return joined


@cache
def _longest_known() -> int:
    known = known_words()
    return max(
        len(word) for word in (*known.function, *(zh for _, zh in known.names)) if has_han(word)
    )


def words_of(text: str, vocabulary: Vocabulary | None = None) -> list[Word]:
    """Cut a text into words; punctuation and spaces are between them.

    Args:
        text: A prompt.
        vocabulary: What training prompts say about words.

    Example:
        >>> [(word.text, word.kind) for word in words_of("What is the capital of New Zealand?")]
        ... # doctest: +NORMALIZE_WHITESPACE
        [('What', 'function'), ('is', 'function'), ('the', 'function'), ('capital', 'content'),
         ('of', 'function'), ('New Zealand', 'name')]
    """
    vocabulary = vocabulary or Vocabulary()
    found: list[Word] = []
    for piece in _PIECE.finditer(text):
        start = piece.start()
        if piece["run"] is not None:
            for cut in vocabulary.cut(piece["run"]):
                found.append(
                    Word(cut, start, start + len(cut), known_words().kind_of(cut) or "content")
                )
                start += len(cut)
        elif piece["number"] is not None:
            found.append(Word(piece[0], start, piece.end(), "number"))
        else:
            kind = _kind(piece[0], text[:start], vocabulary)
            found.append(Word(piece[0], start, piece.end(), kind))
    return _whole_names(text, found)


def _kind(word: str, before: str, vocabulary: Vocabulary) -> Kind:
    if known := known_words().kind_of(word):
        return known
    if not word[0].isupper():
        return "content"
    return "name" if vocabulary.is_named(word) or not _begins_sentence(before) else "content"


def _begins_sentence(before: str) -> bool:
    before = before.rstrip()
    return not before or before[-1] in _SENTENCE_ENDS


def _whole_names(text: str, words: Sequence[Word]) -> list[Word]:
    """Make one word of a name that has several: New Zealand."""
    whole: list[Word] = []
    for word in words:
        last = whole[-1] if whole else None
        if (
            last is not None
            and last.kind == word.kind == "name"
            and not word.is_han
            and _JOINS_NAMES.fullmatch(text[last.end : word.start])
        ):
            whole[-1] = Word(text[last.start : word.end], last.start, word.end, "name")
        else:
            whole.append(word)
    return whole
