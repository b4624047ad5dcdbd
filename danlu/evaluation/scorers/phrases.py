"""From an answer to right or wrong, by what it says and what it denies.

An answer is right if it says one of the accepted phrases and none of the rejected ones. A phrase
that the answer denies ("I'm not SmolLM") is not said. Words are compared whole, without case,
accents of width or punctuation; numbers by value, so that "1,000", "1000" and "one thousand" agree.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.score import Score

DENIALS = frozenset({"not", "never", "nor", "neither", "without", "instead", "than"})
"""Words that deny what follows them within ``DENIAL_REACH`` words of the same clause."""

DENIAL_REACH = 5
"""Just enough for "do not go by the name X"."""

_SMALL = {
    word: value
    for words, values in (
        ("zero one two three four five six seven eight nine ten", range(11)),
        ("eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen", range(11, 19)),
        ("nineteen twenty thirty forty fifty", (19, 20, 30, 40, 50)),
        ("sixty seventy eighty ninety", (60, 70, 80, 90)),
    )
    for word, value in zip(words.split(), values, strict=True)
}
_SCALES = {"thousand": 1_000, "million": 1_000_000}

_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NOT = re.compile(r"\bcannot\b|n't\b|\bno longer\b")
# A point or comma inside a number does not end a clause.
_CLAUSE_END = re.compile(
    r"[!?;:\n—()]|[.,](?!\d)|(?<!\d)[.,]|\b(?:but|because|since|so|although|though|while)\b"
)
_WORD = re.compile(r"(?<![^\W_])-\d+(?:\.\d+)?|\d+\.\d+|[^\W_]+")


@dataclass(frozen=True, slots=True)
class Phrases:
    """1 if the answer says an accepted phrase and no rejected one, else 0.

    The reference is a mapping: ``accepted``, phrases of which one is enough, and ``rejected``,
    phrases of which none may be said. What the answer denies is not said. For English.

    Example:
        >>> name = {"accepted": ["Danlu"], "rejected": ["SmolLM"]}
        >>> [Phrases().score(text, name).value for text in ("I'm Danlu, not SmolLM.", "SmolLM!")]
        [1.0, 0.0]
    """

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer.

        Raises:
            EvaluationError: If the reference accepts nothing, has another key, or a phrase without
                words or cut by punctuation.
        """
        given = reference if isinstance(reference, Mapping) else {}
        accepted, rejected = _texts(given.get("accepted")), _texts(given.get("rejected", []))
        if given.keys() - {"accepted", "rejected"} or accepted is None or rejected is None:
            raise EvaluationError(
                f"the reference is {reference!r}; it must have accepted, a list of phrases, and "
                "may have rejected, another."
            )
        try:
            right = is_right(answer, accepted, rejected)
            for phrase in (*accepted, *rejected):
                says([], phrase)  # a phrase that cannot be is a slip, also where another settles it
        except ValueError as error:
            raise EvaluationError(f"{error}.") from error
        return Score(float(right))


def _texts(given: Any) -> list[str] | None:
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        return None
    return list(given)


def is_right(answer: str, accepted: Sequence[str], rejected: Sequence[str] = ()) -> bool:
    """Tell whether an answer says an accepted phrase and no rejected one.

    Args:
        answer: What the model said.
        accepted: Phrases of which one is enough; each without punctuation inside.
        rejected: Phrases of which none may be said.

    Raises:
        ValueError: If nothing is accepted, or a phrase has no word in it.

    Example:
        >>> is_right("I'm Danlu, not SmolLM.", ["Danlu"], ["SmolLM"])
        True
        >>> is_right("I'm not Danlu. I'm SmolLM.", ["Danlu"], ["SmolLM"])
        False
        >>> is_right("That makes one thousand and twelve.", ["1,012"])
        True
    """
    if not accepted:
        raise ValueError("no accepted phrase: nothing could be right")
    spoken = clauses(answer)
    return any(says(spoken, phrase) for phrase in accepted) and not any(
        says(spoken, phrase) for phrase in rejected
    )


def says(spoken: Sequence[Sequence[str]], phrase: str) -> bool:
    """Tell whether a phrase stands in one of the clauses, undenied.

    Args:
        spoken: Clauses of words, from ``clauses``.
        phrase: One or more words.

    Raises:
        ValueError: If the phrase has no word in it, or is cut by punctuation.
    """
    wanted = clauses(phrase)
    if len(wanted) != 1:
        raise ValueError(f"{phrase!r} must be words without punctuation between them")
    return any(
        not _is_denied(words[:start])
        for words in spoken
        for start in range(len(words))
        if words[start : start + len(wanted[0])] == wanted[0]
    )


def clauses(text: str) -> list[list[str]]:
    """Cut a text into clauses of plain words; numbers are digits.

    Example:
        >>> clauses("No, I'm not 1,000 years old: I'm twenty-one!")
        [['no'], ['i', 'm', 'not', '1000', 'years', 'old'], ['i', 'm', '21']]
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    text = _THOUSANDS_COMMA.sub("", text)
    text = _NOT.sub(" not", text)
    cut = (numbers_as_digits(_WORD.findall(clause)) for clause in _CLAUSE_END.split(text))
    return [words for words in cut if words]


def numbers_as_digits(words: Iterable[str]) -> list[str]:
    """Write English number words as digits; a number ends where the next word cannot go on.

    Example:
        >>> numbers_as_digits("two hundred and five cats".split())
        ['205', 'cats']
        >>> numbers_as_digits("one two thirty three".split())
        ['1', '2', '33']
    """
    out: list[str] = []
    words = list(words)
    position = 0
    while position < len(words):
        value, length = _number_at(words, position)
        out.append(str(value) if length else words[position])
        position += max(length, 1)
    return out


def _number_at(words: Sequence[str], start: int) -> tuple[int, int]:
    """Return the number that begins at ``start`` and how many words it takes (0: none)."""
    total = group = 0
    room: float = float("inf")  # what the group can still take is smaller than this
    position = start
    while position < len(words):
        word, value = words[position], _SMALL.get(words[position])
        if value is not None and value < room and (value or position == start):
            group, room = group + value, 10 if value >= 20 else 0
        elif word == "hundred" and group < 10:
            group, room = max(group, 1) * 100, 100
        elif word in _SCALES and (group or position == start):
            total, group, room = total + max(group, 1) * _SCALES[word], 0, float("inf")
        elif not (word == "and" and position > start and _joins(words, position)):
            break
        position += 1
    return total + group, position - start


def _joins(words: Sequence[str], position: int) -> bool:
    """Tell whether the "and" at ``position`` is inside a number, as in "two hundred and six"."""
    after = words[position + 1 : position + 2]
    return words[position - 1] in ("hundred", *_SCALES) and after != [] and after[0] in _SMALL


def _is_denied(before: Sequence[str]) -> bool:
    """Tell whether the words before a phrase, in its own clause, deny it."""
    return bool(DENIALS.intersection(before[-DENIAL_REACH:])) or list(before[-1:]) == ["no"]
