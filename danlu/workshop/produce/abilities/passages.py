"""Questions with the passage that answers each, and another value that would be wrong."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import regex

from danlu.generation.interface import Sampling
from danlu.records import Record, read_records
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.abilities.common import DATA, sentences_of
from danlu.workshop.produce.common import Asking, Rejects, answer_of, prompt_of
from danlu.workshop.produce.expectation import characters
from danlu.workshop.produce.measures import mentions, whole
from danlu.workshop.produce.prompts import Language, Prompts, language_of
from danlu.workshop.produce.request import Reply, Request

SHIPPED_QUESTIONS = DATA / "rag.jsonl"
NAMING = Sampling(max_new_tokens=48, temperature=0.7, top_p=0.95)
_NUMBER = regex.compile(r"\d+(?:[.,]\d+)*")
_PASSAGE_KEYS = ("passage", "context", "evidence", "reference")
_LONGEST_VALUE = 60
_QUOTES = " \"'“”‘’。.*"


@dataclass(frozen=True)
class Question:
    """A question that a passage answers.

    Attributes:
        id: Of the record that it is from.
        text: The question.
        value: What an answer must name; it stands in the passage.
        passage: What answers it.
        wrong: Another value of the same kind; None if nobody has said.
    """

    id: str
    text: str
    value: str
    passage: str
    wrong: str | None = None

    @property
    def language(self) -> Language:
        """Of the question."""
        return language_of(self.text)

    @property
    def proof(self) -> str:
        """The sentence of the passage that names the value."""
        sentences = sentences_of(self.passage)
        return next((one for one in sentences if mentions(one, self.value)), self.passage)

    def altered(self) -> Question:
        """Return it with the wrong value, in the passage too, and the right one as wrong."""
        assert self.wrong is not None
        pattern = regex.compile(whole(self.value), regex.I)
        passage = pattern.sub(lambda _: self.wrong or "", self.passage)
        return replace(self, value=self.wrong, passage=passage, wrong=self.value)


def shipped_questions() -> list[Record]:
    """Return the questions that come with Danlu, in Chinese and English."""
    return list(read_records(str(SHIPPED_QUESTIONS)))


def questions_of(records: Iterable[Record], rejects: Rejects) -> list[Question]:
    """Read questions: of ``doc2qa``, or with a passage in ``meta``.

    The value is the whole answer if that is short and stands in the passage, else the one number
    that both have.
    """
    found = []
    for record in records:
        question, passage = _parts(record)
        answer = answer_of(record).strip(_QUOTES)
        if not question or not passage or not answer:
            rejects.add("no passage", prompt_of(record), record.id)
            continue
        value = _value(answer, passage)
        if value is None:
            rejects.add("the answer is no value of the passage", answer, record.id)
            continue
        if mentions(question, value):
            rejects.add("the question names its answer", question, record.id)
            continue
        wrong = record.meta.get("wrong")
        wrong = str(wrong).strip() if wrong not in (None, "") else None
        one = Question(record.id, question, value, passage)
        if wrong is not None and not _is_wrong(one, wrong):
            rejects.add("the wrong value cannot stand for the right one", wrong, record.id)
            wrong = None
        found.append(replace(one, wrong=wrong))
    return found


def with_wrong_values(
    questions: Sequence[Question],
    asking: Asking | None,
    prompts: Prompts,
    seed: int,
    rejects: Rejects,
) -> list[Question]:
    """Give questions the wrong values that they lack: another number, or what a model says."""
    found = [_with_other_number(one, seed) for one in questions]
    lacking = [place for place, one in enumerate(found) if one.wrong is None]
    if asking is None:
        for place in lacking:
            rejects.add("no wrong value: give one, or a model", found[place].text, found[place].id)
        return found
    requests = []
    for place in lacking:
        one = found[place]
        messages = prompts.render("rag/wrong", one.language, question=one.text, value=one.value)
        requests.append(Request(messages, NAMING, place))
    for place, outcome in zip(lacking, asking.ask(requests), strict=True):
        one = found[place]
        said = outcome.text.strip(_QUOTES) if isinstance(outcome, Reply) else ""
        if said and "\n" not in said and _is_wrong(one, said):
            found[place] = replace(one, wrong=said)
        else:
            rejects.add("no wrong value", said, one.id)
    return found


def _parts(record: Record) -> tuple[str, str]:
    """Return question and passage."""
    prompt = prompt_of(record)
    for key in _PASSAGE_KEYS:
        if isinstance(record.meta.get(key), str):
            return prompt, record.meta[key]
    evidence = record.meta.get("made", {}).get("evidence")
    if not isinstance(evidence, str):
        return prompt, ""
    passage, gap, question = prompt.rpartition("\n\n")
    return (question, passage) if gap else (prompt, evidence)


def _value(answer: str, passage: str) -> str | None:
    if characters(answer) <= _LONGEST_VALUE and mentions(passage, answer):
        return answer
    numbers = [one for one in dict.fromkeys(_NUMBER.findall(answer)) if mentions(passage, one)]
    return numbers[0] if len(numbers) == 1 else None


def _is_wrong(one: Question, wrong: str) -> bool:
    """Whether a value differs from the right one, is new to the passage, and can stand there."""
    if characters(wrong) > _LONGEST_VALUE or mentions(one.passage, wrong):
        return False
    if fold(one.value) in fold(wrong) or fold(wrong) in fold(one.value):
        return False
    altered = replace(one, wrong=wrong).altered().passage
    return mentions(altered, wrong) and not mentions(altered, one.value)


def _with_other_number(one: Question, seed: int) -> Question:
    if one.wrong is not None or not _NUMBER.fullmatch(one.value):
        return one
    chance = random.Random(f"{seed}/{one.id}/{one.text}")
    digits = [place for place, mark in enumerate(one.value) if mark.isdigit()]
    for _ in range(20):
        place = chance.choice(digits)
        least = 1 if place == 0 else 0
        mark = str(chance.randint(least, 9))
        wrong = one.value[:place] + mark + one.value[place + 1 :]
        if wrong != one.value and _is_wrong(one, wrong):
            return replace(one, wrong=wrong)
    return one
