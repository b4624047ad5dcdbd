"""``constraints``: prompts that ask for a length, a count or a word, with answers that keep to it.

Models count badly, so the target is drawn after the shot: an answer is asked for under a
constraint, measured, and the constraint rewritten to what the answer meets. Asked for 200
characters, the model writes 189; the prompt then says "at least 180", and is right. Each record
carries the expectation by which code can check any answer to it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import regex

from danlu.errors import DanluError, did_you_mean
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.answer import problem_of
from danlu.workshop.produce.common import (
    Asking,
    Rejects,
    answer_message,
    made_record,
    prompt_of,
    with_prompt,
)
from danlu.workshop.produce.expectation import (
    Expectation,
    characters,
    items,
    paragraphs,
    sentences,
    words,
)
from danlu.workshop.produce.prompts import SHIPPED, Language, Prompts, language_of
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.store.decision import Decision, Progress, keep, make

Constraint = Literal[
    "min_characters",
    "max_characters",
    "min_words",
    "max_words",
    "sentences",
    "paragraphs",
    "items",
    "contains",
    "json",
]
CONSTRAINTS: tuple[Constraint, ...] = (
    "min_characters",
    "max_characters",
    "min_words",
    "max_words",
    "sentences",
    "paragraphs",
    "items",
    "contains",
    "json",
)
_TARGETS: dict[str, tuple[int, ...]] = {
    "min_characters": (60, 100, 150, 200, 300, 500),
    "max_characters": (30, 50, 80, 120, 200),
    "min_words": (50, 80, 120, 200, 300),
    "max_words": (15, 25, 40, 60, 100),
    "sentences": (1, 2, 3, 4, 5, 6),
    "paragraphs": (2, 3, 4),
    "items": (3, 4, 5, 6, 7, 8, 10),
}
_IN_CHINESE: tuple[Constraint, ...] = ("min_words", "max_words")
"""Kinds that are left out for Chinese, where nobody counts words."""
_LEAST: dict[str, int] = {"paragraphs": 2, "items": 2}
_MOST = {"sentences": 12, "paragraphs": 8, "items": 20}
"""An answer with more than these is not described by its count."""
_MEASURES = {"sentences": sentences, "paragraphs": paragraphs, "items": items}
NAMING = Sampling(max_new_tokens=64, greedy=True)
_SEPARATORS = regex.compile(r"[,，、;；\n]+")
_MARK = regex.compile(r"^\s*(?:\d{1,2}[.)、]|[-*•])\s*")
LONGEST_KEYWORD = 24


@dataclass
class _Shot:
    """A record under a constraint."""

    record: Record
    kind: Constraint
    asked: Expectation | None
    language: Language
    phrase: str
    at_front: bool
    reply: Reply | None = None


@dataclass(frozen=True)
class Constraints:
    """Makes records with a constraint from the prompts of the given ones.

    Attributes:
        asking: Who answers.
        kinds: Constraints that are drawn from.
        each: How many are drawn for each record; none twice.
        sampling: How answers are drawn.
        both: Where the answer meets the constraint as it was asked, make a record of that prompt
            too.
        slack: How far below or above an answer its rewritten length may lie, as a share; the
            figure is round within that.
        prompts: How it is asked.
        seed: Of the draws.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a kind is not known, or a number out of range.
    """

    name: ClassVar[str] = "constraints"
    revision: ClassVar[int] = 2

    asking: Asking
    kinds: tuple[Constraint, ...] = CONSTRAINTS
    each: int = 1
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    both: bool = True
    slack: float = 0.1
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in CONSTRAINTS:
                raise DanluError(
                    f"there is no constraint {kind!r}.{did_you_mean(kind, CONSTRAINTS)}"
                )
        if not 1 <= self.each <= len(self.kinds):
            raise DanluError(f"each is {self.each}; it is from 1 to {len(self.kinds)}, the kinds.")
        if not 0 < self.slack < 1:
            raise DanluError(f"slack is {self.slack}; it must be between 0 and 1.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep the records, and add those under a constraint."""
        given = list(records)
        ids = {record.id for record in given}
        shots = self._answered([shot for one in given for shot in self._shots(one)])
        progress(f"{self.name}: answers", len(shots), len(shots))
        keywords = self._keywords(shots)
        for record in given:
            yield keep(record)
        for shot in shots:
            for record in self._records(shot, keywords.get(id(shot), [])):
                if record.id not in ids:
                    ids.add(record.id)
                    yield make(record, f"{self.name}: {shot.kind}", shot.record.id)

    # Asking ------------------------------------------------------------------------------

    def _shots(self, record: Record) -> Iterator[_Shot]:
        prompt = prompt_of(record)
        if not prompt:
            return
        chance = random.Random(f"{self.seed}/{record.id}")
        language = language_of(prompt)
        kinds = [k for k in self.kinds if not (language == "zh" and k in _IN_CHINESE)]
        for kind in chance.sample(kinds, min(self.each, len(kinds))):
            asked: Expectation | None = None
            if kind in _TARGETS:
                asked = Expectation(kind, chance.choice(_TARGETS[kind]))
            elif kind == "json":
                asked = Expectation("json")
            phrase = chance.choice(self.prompts.lines(f"constraints/{kind}", language))
            yield _Shot(record, kind, asked, language, phrase, chance.random() < 0.3)

    def _answered(self, shots: Sequence[_Shot]) -> list[_Shot]:
        """Ask under the constraints; of ``contains``, without one."""
        requests = []
        for shot in shots:
            prompt = self._prompt(shot, shot.asked) if shot.asked else prompt_of(shot.record)
            messages = with_prompt(shot.record.messages, prompt)
            item = f"{shot.record.id}/{shot.kind}"
            requests.append(Request(messages, self.sampling, item=item))
        answered = []
        for shot, outcome in zip(shots, self.asking.ask(requests), strict=True):
            problem = problem_of(outcome) if isinstance(outcome, Reply) else outcome.reason
            if problem or not isinstance(outcome, Reply):
                self.rejects.add("no usable answer", str(problem), shot.record.id)
                continue
            shot.reply = outcome
            answered.append(shot)
        return answered

    def _keywords(self, shots: Sequence[_Shot]) -> dict[int, list[str]]:
        """Ask for the words that matter in an answer, and keep those that stand in it."""
        wanted = [shot for shot in shots if shot.kind == "contains"]
        requests = [
            Request(
                self.prompts.render("constraints/keywords", shot.language, answer=_text(shot)),
                NAMING,
            )
            for shot in wanted
        ]
        found = {}
        for shot, outcome in zip(wanted, self.asking.ask(requests), strict=True):
            said = _SEPARATORS.split(outcome.text) if isinstance(outcome, Reply) else []
            named = [_MARK.sub("", word).strip(" .。“”\"'`*") for word in said]
            found[id(shot)] = [
                word
                for word in named
                if 2 <= len(word) <= LONGEST_KEYWORD
                and fold(word) in fold(_text(shot))
                and fold(word) not in fold(prompt_of(shot.record))
            ]
        return found

    # Rewriting ---------------------------------------------------------------------------

    def _records(self, shot: _Shot, keywords: Sequence[str]) -> Iterator[Record]:
        """Return the record of the rewritten prompt and, where it fits, of the asked one."""
        answer = _text(shot)
        target = self._target(shot, answer, keywords)
        asked_met = shot.asked is not None and shot.asked.problem(answer) is None
        if target is None:
            self.rejects.add(f"nothing to constrain: {shot.kind}", answer, shot.record.id)
        elif problem := target.problem(answer):
            raise AssertionError(f"the target was drawn after the shot and missed it: {problem}")
        else:
            yield self._record(shot, target, asked_met)
        if self.both and asked_met and shot.asked is not None and shot.asked != target:
            yield self._record(shot, shot.asked, asked_met)

    def _target(self, shot: _Shot, answer: str, keywords: Sequence[str]) -> Expectation | None:
        """Return the constraint that an answer meets; None if it says nothing."""
        if shot.kind == "contains":
            return Expectation("contains", keywords[0]) if keywords else None
        if shot.kind == "json":
            met = Expectation("json")
            return met if met.problem(answer) is None else None
        if shot.kind in _MEASURES:
            count = _MEASURES[shot.kind](answer)
            if not _LEAST.get(shot.kind, 1) <= count <= _MOST[shot.kind]:
                return None
            return Expectation(shot.kind, count)
        measured = characters(answer) if shot.kind.endswith("characters") else words(answer)
        if shot.kind.startswith("min"):
            return Expectation(shot.kind, round_below(measured, self.slack))
        return Expectation(shot.kind, round_above(measured, self.slack))

    def _prompt(self, shot: _Shot, expectation: Expectation) -> str:
        prompt = prompt_of(shot.record)
        sentence = self.prompts.phrase(
            shot.phrase, f"{SHIPPED}/constraints/{shot.kind}", value=expectation.value
        )
        return f"{sentence}\n{prompt}" if shot.at_front else f"{prompt}\n{sentence}"

    def _record(self, shot: _Shot, expectation: Expectation, asked_met: bool) -> Record:
        assert shot.reply is not None
        how = {**self.asking.settings(), "from": shot.record.id, "kind": shot.kind}
        if shot.asked is not None:
            how |= {"asked": self._prompt(shot, shot.asked), "asked_met": asked_met}
        messages: Sequence[Message] = (
            *with_prompt(shot.record.messages, self._prompt(shot, expectation)),
            answer_message(shot.reply),
        )
        return made_record(
            shot.record.task_type,
            messages,
            self.name,
            how,
            tags=shot.record.tags,
            expectations=[expectation.as_dict()],
        )


def _text(shot: _Shot) -> str:
    assert shot.reply is not None
    return shot.reply.text


def round_below(value: int, slack: float) -> int:
    """Return the roundest number that is not above, and no further below than the slack.

    Example:
        >>> [round_below(value, 0.1) for value in (189, 1234, 7, 100, 98)]
        [180, 1200, 7, 100, 90]
    """
    for step in _steps(value):
        if (found := value // step * step) >= value * (1 - slack):
            return found
    return value


def round_above(value: int, slack: float) -> int:
    """Return the roundest number that is not below, and no further above than the slack.

    Example:
        >>> [round_above(value, 0.1) for value in (189, 1234, 7, 100, 92)]
        [200, 1300, 7, 100, 100]
    """
    for step in _steps(value):
        if (found := math.ceil(value / step) * step) <= value * (1 + slack):
            return found
    return value


def _steps(value: int) -> Iterator[int]:
    """Yield steps of round numbers, the coarsest first."""
    scale = 10 ** len(str(value))
    while scale >= 10:
        scale //= 10
        yield scale
        if scale >= 10:
            yield scale // 2
