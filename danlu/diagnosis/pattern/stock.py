"""What could stand in the place of a word: drawn from the training prompts, and from lists."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from danlu.diagnosis.pattern.words import Kind, Vocabulary, Word, known_words, words_of

EDGE = ""
"""Neighbour of a word that begins or ends a text."""
MOST_TEXTS = 5_000
"""Prompts that are cut into words; of more, some are drawn."""

Frame = tuple[str, str]


@dataclass(frozen=True)
class Stock:
    """Words of the training prompts, by the place they stand in and by what they are.

    Attributes:
        vocabulary: By which texts are cut.
        framed: Words between two neighbours, by how often they stand there.
        kinds: Words of one kind and script, by how often they occur.
        texts: The prompts themselves, for questions that have nothing to do with a case.
    """

    vocabulary: Vocabulary
    framed: dict[Frame, Counter[str]] = field(default_factory=dict)
    kinds: dict[tuple[Kind, bool], Counter[str]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts: Sequence[str], *, seed: int = 0) -> Stock:
        """Take stock of prompts.

        Args:
            texts: The last question of each record.
            seed: Draws from more than ``MOST_TEXTS``.
        """
        if len(texts) > MOST_TEXTS:
            texts = random.Random(seed).sample(list(texts), MOST_TEXTS)
        vocabulary = Vocabulary(texts)
        framed: dict[Frame, Counter[str]] = defaultdict(Counter)
        kinds: dict[tuple[Kind, bool], Counter[str]] = defaultdict(Counter)
        for text in texts:
            words = words_of(text, vocabulary)
            for place, word in enumerate(words):
                framed[_frame(words, place)][word.text] += 1
                kinds[word.kind, word.is_han][word.text] += 1
        return cls(vocabulary, dict(framed), dict(kinds), tuple(texts))

    def words(self, text: str) -> list[Word]:
        """Cut a text into words."""
        return words_of(text, self.vocabulary)

    def instead_of(
        self, words: Sequence[Word], place: int, draw: random.Random, *, without: Iterable[str] = ()
    ) -> Iterator[str]:
        """Yield words that could stand in the place of one, the likeliest to fit first.

        First what is of the same kind and script and stands between the same two neighbours in
        the training prompts, then what is of that kind, then what the lists have, then anything
        between those neighbours; each in an order drawn at random.

        Args:
            words: Of the text.
            place: Which of them.
            draw: Draws.
            without: Words that are none; the word itself never is one.
        """
        word = words[place]
        seen = {fold_case(one) for one in (word.text, *without)}
        left, right = _frame(words, place)
        near = self.framed.get((left, right), Counter())
        same = self.kinds.get((word.kind, word.is_han), Counter())
        fitting = [option for option in near if option in same]
        for group in (fitting, same, self._listed(word), near):
            options = sorted(group)
            draw.shuffle(options)
            for option in options:
                if fold_case(option) not in seen:
                    seen.add(fold_case(option))
                    yield option

    def _listed(self, word: Word) -> list[str]:
        known = known_words()
        if word.kind == "number":
            return [str(number) for number in range(2, 100)]
        if word.kind == "function":
            return []
        pairs = known.names if word.kind == "name" else known.relations
        return [pair[word.is_han] for pair in pairs]


def fold_case(word: str) -> str:
    """Make words equal that differ only in capitals."""
    return word.casefold()


def _frame(words: Sequence[Word], place: int) -> Frame:
    before = words[place - 1].text if place else EDGE
    after = words[place + 1].text if place + 1 < len(words) else EDGE
    return fold_case(before), fold_case(after)


def distinct(items: Iterable[str]) -> list[str]:
    """Return each once, in order."""
    return list(dict.fromkeys(chain(items)))
