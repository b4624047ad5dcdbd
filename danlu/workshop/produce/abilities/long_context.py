"""``long-context``: a pass key, or several facts, hidden in a long text.

Lengths and places are swept. The pass key is after Mohtashami and Jaggi 2023, arXiv:2305.16300.
No model is asked.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar, Literal, Protocol

import regex

from danlu.errors import DanluError
from danlu.records import Record
from danlu.workshop.produce.abilities.common import DATA, distinct, phrase, sentences_of, talk
from danlu.workshop.produce.common import made_record
from danlu.workshop.produce.expectation import Expectation
from danlu.workshop.produce.prompts import LANGUAGES, Language, Prompts, language_of
from danlu.workshop.store.decision import Decision, Progress, drop, keep, make
from danlu.workshop.store.settings import field_settings

HiddenKind = Literal["passkey", "facts"]
HIDDEN: tuple[HiddenKind, ...] = ("passkey", "facts")
_FOUR_DIGITS = regex.compile(r"\d{4,}")
_BETWEEN: dict[Language, str] = {"en": " ", "zh": ""}


class Measure(Protocol):
    """How long a text is.

    Attributes:
        unit: ``characters`` or ``tokens``.
    """

    unit: str

    def count(self, text: str) -> int:
        """Return the length of a text."""

    def settings(self) -> Any:
        """Say what it is, as data."""


class InCharacters:
    """Lengths in characters."""

    unit = "characters"

    def count(self, text: str) -> int:
        """Return how many there are."""
        return len(text)

    def settings(self) -> str:
        """Say what it is."""
        return self.unit


@dataclass(frozen=True)
class LongContext:
    """Hides something in long texts, and asks for it.

    Attributes:
        lengths: Lengths of the prompts; each is reached to within a sentence, and never passed.
        depths: Where the pass key stands, as a share of the text: 0 its beginning, 1 its end.
        each: Prompts for every length, depth and language.
        kinds: ``passkey``, ``facts`` or both. Facts spread over the text; depths are not used, so
            there are as many as for one depth.
        facts: How many of them a question asks for; as many again stand there unasked.
        languages: Of the shipped filler. Documents are used in their own.
        measure: How lengths are counted.
        area: First level of the task types.
        prompts: The phrasings.
        seed: Of the draws.

    Raises:
        DanluError: If a number is out of range, or nothing is to be made.
    """

    name: ClassVar[str] = "long-context"
    revision: ClassVar[int] = 1

    lengths: tuple[int, ...] = (1000, 4000, 16000)
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    each: int = 2
    kinds: tuple[HiddenKind, ...] = HIDDEN
    facts: int = 3
    languages: tuple[Language, ...] = LANGUAGES
    measure: Measure = field(default_factory=InCharacters)
    area: str = "long_context"
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.lengths and self.depths and self.kinds and self.languages):
            raise DanluError("give at least one length, depth, kind and language.")
        if min(self.lengths) < 1 or self.each < 1:
            raise DanluError("lengths and each must be at least 1.")
        if wrong := [depth for depth in self.depths if not 0 <= depth <= 1]:
            raise DanluError(
                f"a depth is {wrong[0]:g}; it is from 0, the beginning, to 1, the end."
            )
        people = min(len(self._people(one)) for one in self.languages)
        if not 1 <= self.facts <= people // 2:
            raise DanluError(
                f"facts is {self.facts}; it is from 1 to {people // 2}, half of the names in "
                "prompts/.../long_context/people.md."
            )

    def settings(self) -> dict[str, Any]:
        """Return the settings, and what the shipped filler is."""
        return field_settings(self) | {"filler": {one: _shipped(one) for one in self.languages}}

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Make prompts from the documents among the records, or else from shipped sentences."""
        given = list(records)
        documents = [record for record in given if record.is_text]
        if given and not documents:
            raise DanluError("there is no document: a record with one message of role 'text'.")
        for record in given:
            yield drop(record, "document used") if record.is_text else keep(record)
        filler = self._filler(documents)
        total = (
            len(filler)
            * self.each
            * len(self.lengths)
            * (len(self.depths) * ("passkey" in self.kinds) + ("facts" in self.kinds))
        )
        ids = [record.id for record in given]
        for done, record in enumerate(distinct(self._records(filler), ids), 1):
            progress(self.name, done, total)
            yield make(record, self.name)

    def _records(self, filler: dict[Language, list[str]]) -> Iterator[Record]:
        for language, sentences in filler.items():
            text = _Text(sentences, self.measure, _BETWEEN[language])
            for length, number in product(self.lengths, range(self.each)):
                for kind in self.kinds:
                    for depth in self.depths if kind == "passkey" else (None,):
                        key = f"{self.seed}/{language}/{length}/{number}/{kind}/{depth}"
                        chance = random.Random(key)
                        yield self._record(text, language, length, depth, chance)

    def _record(
        self,
        text: _Text,
        language: Language,
        length: int,
        depth: float | None,
        chance: random.Random,
    ) -> Record:
        if depth is not None:
            needles, values, question, answer = self._passkey(language, chance)
            depths: Sequence[float] = (depth,)
        else:
            needles, values, question, answer = self._facts(language, chance)
            share = 1 / len(needles)
            depths = [(place + chance.random()) * share for place in range(len(needles))]
        frame = phrase(self.prompts, "long_context/frame", language, chance)
        prompt, where = text.around(frame, question, needles, depths, length, chance)
        how: dict[str, Any] = {
            "length": self.measure.count(prompt),
            "unit": self.measure.unit,
            "wanted": length,
            "language": language,
        }
        how["depth"] = round(where[0], 3) if depth is not None else [round(one, 3) for one in where]
        return made_record(
            f"{self.area}/{'passkey' if depth is not None else 'facts'}",
            talk(prompt, answer),
            self.name,
            how,
            expectations=[Expectation("mentions", values).as_dict()],
        )

    def _passkey(
        self, language: Language, chance: random.Random
    ) -> tuple[list[str], tuple[str, ...], str, str]:
        key = str(chance.randrange(10_000, 100_000))
        needle, question, answer = (
            phrase(self.prompts, f"long_context/{name}_passkey", language, chance, key=key)
            for name in ("hide", "ask", "say")
        )
        return [needle], (key,), question, answer

    def _facts(
        self, language: Language, chance: random.Random
    ) -> tuple[list[str], tuple[str, ...], str, str]:
        people = chance.sample(self._people(language), 2 * self.facts)
        numbers = [str(one) for one in chance.sample(range(1000, 10_000), len(people))]
        needles = [
            phrase(self.prompts, "long_context/hide_fact", language, chance, who=who, number=number)
            for who, number in zip(people, numbers, strict=True)
        ]
        chosen = dict(list(zip(people, numbers, strict=True))[: self.facts])
        question = phrase(
            self.prompts, "long_context/ask_facts", language, chance, who=list(chosen)
        )
        answer = "\n".join(
            phrase(self.prompts, "long_context/say_fact", language, chance, who=who, number=number)
            for who, number in chosen.items()
        )
        chance.shuffle(needles)
        return needles, tuple(chosen.values()), question, answer

    def _people(self, language: Language) -> list[str]:
        return self.prompts.lines("long_context/people", language)

    def _filler(self, documents: Sequence[Record]) -> dict[Language, list[str]]:
        """Return sentences by language, none with a number that could be taken for a key."""
        if not documents:
            return {one: _shipped(one) for one in self.languages}
        found: dict[Language, list[str]] = defaultdict(list)
        for document in documents:
            text = document.messages[0].content or ""
            for sentence in sentences_of(text):
                if not _FOUR_DIGITS.search(sentence):
                    found[language_of(sentence)].append(" ".join(sentence.split()))
        usable = {one: found[one] for one in self.languages if found[one]}
        if not usable:
            raise DanluError(
                f"the documents have no sentence in {' or '.join(self.languages)} without a number "
                "of four digits or more, which could be taken for what is hidden."
            )
        return usable


class _Text:
    """Filler sentences, and how long each is."""

    def __init__(self, sentences: Sequence[str], measure: Measure, between: str) -> None:
        self._sentences = list(sentences)
        self._measure = measure
        self._between = between
        self._sizes = {one: max(1, measure.count(between + one)) for one in set(sentences)}

    def around(
        self,
        frame: str,
        question: str,
        needles: Sequence[str],
        depths: Sequence[float],
        length: int,
        chance: random.Random,
    ) -> tuple[str, list[float]]:
        """Put filler around needles, up to a length.

        Lengths of sentences do not add up exactly, since tokens may join; so what is too long is
        measured whole, and loses sentences until it is not.

        Returns:
            The prompt, and where each needle stands in the text, as a share of its characters.

        Raises:
            DanluError: If the length has no room for question and needles.
        """
        bare, _ = self._laid_out(frame, question, [], needles, depths)
        left = length - self._measure.count(bare)
        filler: list[str] = []
        # The text as it reads, not drawn sentence by sentence: documents stay what they are.
        place = chance.randrange(len(self._sentences))
        while left > 0:
            sentence = self._sentences[place % len(self._sentences)]
            left -= self._sizes[sentence]
            filler.append(sentence)
            place += 1
        while True:
            prompt, where = self._laid_out(frame, question, filler, needles, depths)
            over = self._measure.count(prompt) - length
            if over <= 0:
                return prompt, where
            if not filler:
                raise DanluError(
                    f"a length of {length} {self._measure.unit} has no room: question and what is "
                    f"hidden take {length + over}. Give a length of more than that."
                )
            while filler and over > 0:
                over -= self._sizes[filler.pop()]

    def _laid_out(
        self,
        frame: str,
        question: str,
        filler: Sequence[str],
        needles: Sequence[str],
        depths: Sequence[float],
    ) -> tuple[str, list[float]]:
        ends = [0]
        for sentence in filler:
            ends.append(ends[-1] + self._sizes[sentence])
        pieces = list(filler)
        # From the back, so that places found before stay right.
        for needle, depth in sorted(zip(needles, depths, strict=True), key=lambda one: -one[1]):
            place = min(range(len(ends)), key=lambda k: (abs(ends[k] - depth * ends[-1]), k))
            pieces.insert(place, needle)
        text = self._between.join(pieces)
        room = [max(1, len(text) - len(needle)) for needle in needles]
        where = [text.index(needle) / size for needle, size in zip(needles, room, strict=True)]
        return f"{frame}\n\n{text}\n\n{question}", where


def _shipped(language: Language) -> list[str]:
    return (DATA / f"filler.{language}.md").read_text("utf-8").split("\n")[:-1]
