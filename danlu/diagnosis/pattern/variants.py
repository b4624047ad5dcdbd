"""A case varied: words replaced and dropped, denied, turned round, in the other language.

Each variant knows which words of the case it still has, so that what the model makes of all of them
says which words it clings to.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from danlu.diagnosis.pattern.stock import Stock
from danlu.diagnosis.pattern.words import Kind, Word, known_words
from danlu.workshop.likeness.text import fold, has_han, units

VariantKind = Literal[
    "case", "entity", "relation", "wording", "drop", "mixed",
    "negation", "direction", "language", "given", "unrelated",
]  # fmt: skip
"""``mixed``: several words at once; ``given``: worded by a generator; ``unrelated``: another
question altogether, as a measure of how often the wrong answer comes anyway."""

KIND_OF_WORD: dict[Kind, VariantKind] = {
    "name": "entity",
    "number": "entity",
    "content": "relation",
    "function": "wording",
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One prompt to be asked.

    Attributes:
        kind: How it differs from the case.
        prompt: What is asked.
        prefix: What the answer says before the wrong answer comes, changed in the same way.
        kept: Which words of the case stand in it unchanged; empty if it is made of other words.
        changed: Words of the case and what stands in their place; None: nothing does.
    """

    kind: VariantKind
    prompt: str
    prefix: str = ""
    kept: tuple[bool, ...] = ()
    changed: tuple[tuple[str, str | None], ...] = ()


def shows(answer: str, wrong: str) -> bool:
    """Whether an answer has the wrong one in it, as whole words.

    Example:
        >>> shows("The capital is GENEVA.", "Geneva"), shows("the Genevan lake", "Geneva")
        (True, False)
        >>> shows("葡萄牙的首都是日內瓦。", "日内瓦")
        True
    """
    return contains(units(fold(answer)), units(fold(wrong)))


def contains(whole: Sequence[str], part: Sequence[str]) -> bool:
    """Whether units stand in others, one behind the other."""
    size = len(part)
    return bool(part) and any(
        list(whole[start : start + size]) == list(part) for start in range(len(whole) - size + 1)
    )


def before_wrong(answer: str, wrong: str) -> str | None:
    """Return what an answer says before the wrong one; None if it does not say that.

    Example:
        >>> before_wrong("The capital is Geneva.", "geneva")
        'The capital is '
    """
    place = re.search(_whole(wrong), answer, re.IGNORECASE)
    if place is not None:
        return answer[: place.start()]
    return None


@dataclass(frozen=True)
class Case:
    """The silly mistake.

    Attributes:
        question: What was asked.
        wrong: What is wrong about the answer.
        prefix: What the model's answer says before that.
        words: Of the question.
    """

    question: str
    wrong: str
    prefix: str
    words: tuple[Word, ...]

    @classmethod
    def of(cls, question: str, wrong: str, answer: str, stock: Stock) -> Case:
        """Take a case apart.

        Args:
            question: What was asked.
            wrong: What is wrong.
            answer: All that the model answers.
            stock: By which words are cut.
        """
        prefix = before_wrong(answer, wrong) or ""
        return cls(question, wrong, prefix, tuple(stock.words(question)))

    def with_words(
        self, kind: VariantKind, changes: Mapping[int, str | None], *, question: str | None = None
    ) -> Variant:
        """Put other words in the place of some; None leaves one out.

        Example:
            >>> stock = Stock.of([])
            >>> case = Case.of("What is the capital of Peru?", "Geneva", "Geneva.", stock)
            >>> case.with_words("mixed", {0: "Where", 5: None}).prompt
            'Where is the capital of?'
        """
        pieces: list[str] = []
        end = 0
        for place, word in enumerate(self.words):
            pieces.append(self.question[end : word.start])
            new = changes.get(place, word.text)
            pieces.append("" if new is None else _in_case(new, word))
            end = word.end
        pieces.append(self.question[end:])
        changed = tuple((self.words[k].text, new) for k, new in sorted(changes.items()))
        return Variant(
            kind,
            _tidy("".join(pieces)),
            _rewritten(self.prefix, changed),
            tuple(place not in changes for place in range(len(self.words))),
            changed,
        )

    def without(self, places: Sequence[int], kind: VariantKind = "drop") -> Variant:
        """Leave words out."""
        return self.with_words(kind, dict.fromkeys(places))

    def replaced(
        self, places: Sequence[int], stock: Stock, draw: random.Random, kind: VariantKind = "mixed"
    ) -> Variant:
        """Put drawn words in the place of some; where none can be drawn, the word goes."""
        changes: dict[int, str | None] = {}
        for place in places:
            options = stock.instead_of(self.words, place, draw, without=self._never())
            changes[place] = next(options, None)
        return self.with_words(kind, changes)

    def _never(self) -> list[str]:
        """Words that are drawn for no place: those of the wrong answer and of the case itself."""
        return [self.wrong, *units(self.wrong), *(word.text for word in self.words)]


def single_changes(case: Case, stock: Stock, each: int, draw: random.Random) -> list[Variant]:
    """Replace each word by others, and leave each out.

    Args:
        case: The case.
        stock: Of other words.
        each: How many replacements of each word.
        draw: Draws them.
    """
    found: list[Variant] = []
    for place, word in enumerate(case.words):
        options = stock.instead_of(case.words, place, draw, without=case._never())
        for _, new in zip(range(each), options, strict=False):
            found.append(case.with_words(KIND_OF_WORD[word.kind], {place: new}))
        if len(case.words) > 1:
            found.append(case.without([place]))
    return found


def several_changes(
    case: Case, stock: Stock, count: int, draw: random.Random, *, keep: float = 0.5
) -> list[Variant]:
    """Change several words at once, drawn at random: every other time leaving them out.

    Args:
        case: The case.
        stock: Of other words.
        count: How many variants.
        draw: Draws them.
        keep: How likely each word stays.
    """
    found = []
    size = len(case.words)
    for number in range(count if size > 2 else 0):
        places = [place for place in range(size) if draw.random() >= keep]
        if not 1 < len(places) < size:
            places = draw.sample(range(size), max(2, size // 2))
        if number % 3 == 2:
            found.append(case.without(places, "mixed"))
        else:
            found.append(case.replaced(places, stock, draw))
    return found


def unrelated(case: Case, stock: Stock, count: int, draw: random.Random) -> list[Variant]:
    """Draw training prompts that share no word with the case but little ones."""
    own = {w.text.casefold() for w in case.words if w.kind != "function"}
    texts = list(stock.texts)
    draw.shuffle(texts)
    found: list[Variant] = []
    for text in texts:
        if len(found) == count:
            break
        others = {w.text.casefold() for w in stock.words(text)}
        if not own & others and not shows(text, case.wrong):
            found.append(Variant("unrelated", text, case.prefix))
    return found


def _in_case(new: str, word: Word) -> str:
    """Write a word with a capital letter where the one that it replaces has one."""
    return new[0].upper() + new[1:] if word.text[:1].isupper() and new else new


def _tidy(text: str) -> str:
    text = re.sub(r"[ \t]+([?.!,;:])", r"\1", re.sub(r"[ \t]{2,}", " ", text))
    return text.strip()


def _rewritten(text: str, changed: Sequence[tuple[str, str | None]]) -> str:
    """Make the same changes in what the answer says before the wrong answer."""
    marks: dict[str, str] = {}
    for number, (old, new) in enumerate(changed):
        if old.casefold() not in text.casefold():
            continue
        mark = f"\0{number}\0"  # so that no change is made in what another has put there
        marks[mark] = new or ""
        text = re.sub(_whole(old), mark, text, flags=re.IGNORECASE)
    for mark, new in marks.items():
        text = text.replace(mark, new)
    ends = text[-1:].isspace()
    tidy = _tidy(text)
    return tidy + " " if tidy and ends else tidy


def _whole(words: str) -> str:
    """Return a pattern that finds words, and not parts of longer ones."""
    found = re.escape(words.strip())
    known = words.strip()
    before = r"(?<!\w)" if known[:1].isalnum() and not has_han(known[:1]) else ""
    after = r"(?!\w)" if known[-1:].isalnum() and not has_han(known[-1:]) else ""
    return f"{before}{found}{after}"


__all__ = [
    "Case",
    "Variant",
    "VariantKind",
    "before_wrong",
    "contains",
    "known_words",
    "several_changes",
    "shows",
    "single_changes",
    "unrelated",
]
