"""Which training records teach a pattern: a search over n-grams of prompts and answers.

A record teaches a pattern if its prompt has the pattern's words and its answer the wrong answer.
How telling n-grams of prompts are for the wrong answer is also counted without asking the model: a
likelihood-ratio test of each (Dunning 1993, "Accurate Methods for the Statistics of Surprise and
Coincidence"). Units are words, or characters of scripts without spaces.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from danlu.records import Record
from danlu.workshop.likeness.text import fold, has_han, units

LONGEST_WORDS, LONGEST_CHARACTERS = 3, 4
"""Units of the n-grams that are counted, of scripts with spaces and without."""
_LONG_ENOUGH = 5
"""Letters of a word that may lose a plural s."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer, as units.

    Attributes:
        record: Id of the record.
        place: Which of its turns.
        prompt: Units of the last thing said before the answer.
        answer: Units of the answer.
    """

    record: str
    place: int
    prompt: tuple[str, ...]
    answer: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Telling:
    """An n-gram of prompts, and how much it says about the wrong answer.

    Attributes:
        text: The n-gram.
        among: Of the turns that answer so, those whose prompt has it.
        elsewhere: Of all other turns, those whose prompt has it.
        lift: The first share over the second; half a turn is added to either count.
        g2: Statistic of the likelihood-ratio test, one degree of freedom.
    """

    text: str
    among: int
    elsewhere: int
    lift: float
    g2: float


@dataclass(frozen=True)
class Teachers:
    """What the training data have of a pattern and of the wrong answer.

    Attributes:
        records: How many were looked at.
        answering: Ids of records that answer so, whatever they are asked.
        asking: Ids of records whose prompt has the pattern, whatever they answer.
        teaching: Ids of records of both kinds: in one turn both.
        telling: N-grams that say most about the wrong answer, the most telling first.
        words: The pattern itself, counted in the same way, one for each alternative.
    """

    records: int
    answering: tuple[str, ...]
    asking: tuple[str, ...]
    teaching: tuple[str, ...]
    telling: tuple[Telling, ...]
    words: tuple[Telling, ...]

    @property
    def share(self) -> float:
        """Share of the records that teach the pattern."""
        return len(self.teaching) / self.records if self.records else 0.0

    @property
    def purity(self) -> float:
        """Of the records that ask so, the share that answers wrongly."""
        return len(self.teaching) / len(self.asking) if self.asking else 0.0

    @property
    def other_answering(self) -> tuple[str, ...]:
        """Records that answer so to something else: they may well be right."""
        teaching = set(self.teaching)
        return tuple(one for one in self.answering if one not in teaching)


def turns_of(record: Record) -> Iterator[tuple[str, str]]:
    """Yield what is asked and what is answered in each turn that is learned.

    Example:
        >>> from danlu.records import Message
        >>> talk = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Who?"))
        >>> list(turns_of(Record("1", "a/b", (*talk, Message("assistant", "Me.")))))
        [('Hi', 'Hello'), ('Who?', 'Me.')]
    """
    asked = ""
    for message in record.messages:
        if message.role == "assistant":
            if message.weight > 0 and message.content:
                yield asked, message.content
        elif message.role != "system":
            asked = message.content or ""
    for response in record.responses:
        yield asked, response.content


def stem(unit: str) -> str:
    """Take the plural s off a longer word, so that capital and capitals are one.

    Example:
        >>> [stem(word) for word in ("capitals", "glass", "this", "首")]
        ['capital', 'glass', 'this', '首']
    """
    is_plural = len(unit) > _LONG_ENOUGH and unit.endswith("s") and not unit.endswith("ss")
    return unit[:-1] if is_plural else unit


def stems(text: str) -> tuple[str, ...]:
    """Cut a text into folded units without plurals."""
    return tuple(stem(unit) for unit in units(fold(text)))


def cut_into_turns(records: Iterable[Record]) -> Iterator[Turn]:
    """Yield the turns of records as units."""
    for record in records:
        for place, (prompt, answer) in enumerate(turns_of(record)):
            yield Turn(record.id, place, stems(prompt), stems(answer))


def find_teachers(
    turns: Sequence[Turn],
    alternatives: Sequence[Sequence[str]],
    wrong: Sequence[str],
    *,
    shown: int = 12,
) -> Teachers:
    """Search the turns of the training records for a pattern and a wrong answer.

    Args:
        turns: Of all records.
        alternatives: The pattern: sets of words, each of which brings the wrong answer; an empty
            set is in every prompt.
        wrong: The wrong answer in the languages in which it is known.
        shown: How many telling n-grams are returned.
    """
    sought = [stems(form) for form in wrong]
    sets = [[stems(word) for word in words] for words in alternatives]
    answers = [any(within(part, turn.answer) for part in sought) for turn in turns]
    asks = [any(_has_all(turn.prompt, words) for words in sets) for turn in turns]
    total, so = len(turns), sum(answers)

    def ids(chosen: Iterable[bool]) -> tuple[str, ...]:
        pairs = zip(turns, chosen, strict=True)
        return tuple(dict.fromkeys(turn.record for turn, is_chosen in pairs if is_chosen))

    words = []
    for given, parts in zip(alternatives, sets, strict=True):
        has = [_has_all(turn.prompt, parts) for turn in turns]
        among = sum(a and b for a, b in zip(has, answers, strict=True))
        words.append(_telling(" + ".join(given), among, sum(has) - among, so, total))
    return Teachers(
        len({turn.record for turn in turns}),
        ids(answers),
        ids(asks),
        ids(a and b for a, b in zip(answers, asks, strict=True)),
        tuple(_most_telling(turns, answers)[:shown]),
        tuple(words),
    )


def within(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether units stand in others, one behind the other.

    Example:
        >>> within(("new", "york"), ("in", "new", "york", "city"))
        True
    """
    size = len(part)
    if not size:
        return False
    first, part = part[0], tuple(part)
    return any(
        whole[start] == first and tuple(whole[start : start + size]) == part
        for start in range(len(whole) - size + 1)
    )


def has_words(prompt: str, words: Sequence[str]) -> bool:
    """Whether a prompt has all of some words, in any order.

    Example:
        >>> has_words("Which capitals lie in Peru?", ["Peru", "capital"])
        True
    """
    return _has_all(stems(prompt), [stems(word) for word in words])


def _has_all(prompt: Sequence[str], words: Sequence[Sequence[str]]) -> bool:
    return all(within(word, prompt) for word in words if word)


def _most_telling(turns: Sequence[Turn], answers: Sequence[bool]) -> list[Telling]:
    """Count the n-grams of the prompts that are answered so, and how often others have them."""
    so = sum(answers)
    among: Counter[tuple[str, ...]] = Counter()
    for turn, is_so in zip(turns, answers, strict=True):
        if is_so:
            among.update(set(_ngrams(turn.prompt)))
    candidates = {gram for gram, count in among.items() if count >= max(2, so // 20)}
    elsewhere: Counter[tuple[str, ...]] = Counter()
    for turn, is_so in zip(turns, answers, strict=True):
        if not is_so:
            elsewhere.update(candidates.intersection(_ngrams(turn.prompt)))
    found = [
        _telling(_written(gram), among[gram], elsewhere[gram], so, len(turns))
        for gram in candidates
    ]
    found = [one for one in found if one.lift > 1]
    return sorted(found, key=lambda one: (-one.g2, len(one.text), one.text))


def _ngrams(prompt: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start, unit in enumerate(prompt):
        longest = LONGEST_CHARACTERS if has_han(unit) else LONGEST_WORDS
        for size in range(1, min(longest, len(prompt) - start) + 1):
            yield tuple(prompt[start : start + size])


def _written(gram: Sequence[str]) -> str:
    """Join units as a person writes them."""
    text = ""
    for unit in gram:
        text += unit if not text or (has_han(unit) and has_han(text[-1])) else f" {unit}"
    return text


def _telling(text: str, among: int, elsewhere: int, so: int, total: int) -> Telling:
    others = total - so
    lift = ((among + 0.5) / (so + 1)) / ((elsewhere + 0.5) / (others + 1))
    return Telling(text, among, elsewhere, lift, g2(among, so, elsewhere, others))


def g2(a: int, of_a: int, b: int, of_b: int) -> float:
    """Compare two shares by a likelihood ratio; chi-squared with one degree of freedom.

    Example:
        >>> round(g2(8, 10, 2, 10), 2), g2(3, 10, 3, 10)  # 2 * (8 ln 1.6 + 2 ln 0.4) * 2
        (7.71, 0.0)
    """
    total = of_a + of_b
    if not total:
        return 0.0
    rows = ((a, of_a), (b, of_b), (of_a - a, of_a), (of_b - b, of_b))
    columns = (a + b, a + b, total - a - b, total - a - b)
    return 2 * sum(
        seen * math.log(seen * total / (row * column))
        for (seen, row), column in zip(rows, columns, strict=True)
        if seen
    )
