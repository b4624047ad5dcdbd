"""How an answer of a task type is held against its reference, and when it counts as right.

The scorer is the one that a suite made of the same records would have. Where right answers may be
worded in many ways, being right cannot be read off the words: such a task type is ``open``, and
what was learned of it is read off probabilities instead, with the likeness of the words beside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from danlu.diagnosis.examples import Example
from danlu.errors import EvaluationError
from danlu.evaluation.scorers import make_scorer
from danlu.evaluation.scorers.numbers import numbers_in
from danlu.evaluation.suites.making import make_suite
from danlu.evaluation.suites.stakes import base_name
from danlu.records.record import Message, Record
from danlu.workshop.likeness.text import units
from danlu.workshop.taxonomy import Taxonomy

CLOSED_UNITS = 3
"""A short answer of so many words (or Chinese characters, two for one) on average has one wording:
a name, a number, yes or no."""
ALIKE = 0.5
"""From this ROUGE-L on an answer in free words counts as like its reference."""


@dataclass(frozen=True)
class Measure:
    """How one task type is scored.

    Attributes:
        scorer: Its name.
        settings: Of the scorer.
        why: Why this one.
        is_open: Whether right answers may be worded in many ways.
        pass_mark: From this score on an answer counts as right (open: as like its reference).
        references: What the scorer expects of each record, where that is not its answer.
    """

    scorer: str
    settings: Mapping[str, Any]
    why: str
    is_open: bool
    pass_mark: float = 1.0
    references: Mapping[str, Any] = field(default_factory=dict)

    def score(self, answer: str, example: Example) -> float | None:
        """Score an answer; None where it cannot be read, or there is nothing to hold it against."""
        reference = self.references.get(example.record, example.answer)
        if self.is_open and not _numbers(example.answer) <= _numbers(answer):
            return 0.0  # "20 minus 5 is 2" is nearly all of "20 minus 5 is 15"
        try:
            return make_scorer(base_name(self.scorer), self.settings).score(answer, reference).value
        except EvaluationError:
            return None

    def is_right(self, answer: str, example: Example) -> bool:
        """Tell whether an answer counts as right; one that cannot be read does not."""
        score = self.score(answer, example)
        return score is not None and score >= self.pass_mark


def measures(examples: Sequence[Example], taxonomy: Taxonomy | None = None) -> dict[str, Measure]:
    """Choose a scorer per task type.

    Args:
        examples: Of any task types and parts.
        taxonomy: Of the data, for closed labels.
    """
    by_type: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_type[example.task_type].append(example)
    return {name: _measure(name, own, taxonomy) for name, own in sorted(by_type.items())}


def _measure(name: str, examples: Sequence[Example], taxonomy: Taxonomy | None) -> Measure:
    records = {example.record: _record(example) for example in examples if example.answer}
    free = Measure("rouge", {}, "its answers are free text", True, ALIKE)
    if not records:
        return free
    try:
        made = make_suite(records.values(), name=name, taxonomy=taxonomy)
    except EvaluationError:
        return free
    stakes, why = made.suite.task_types[name], made.why[name]
    if stakes.scorer == "rouge":
        return replace(free, why=why)
    if stakes.scorer == "exact":
        lengths = [_length(record.messages[-1].content or "") for record in records.values()]
        if sum(lengths) / len(lengths) > CLOSED_UNITS:
            return replace(free, why="short answers in free words")
    references = {
        item.id: item.reference
        for item in made.suite.items
        if item.reference is not None and not isinstance(item.reference, str)
    }
    return Measure(
        stakes.scorer, stakes.settings.get(stakes.scorer, {}), why, False, references=references
    )


def _record(example: Example) -> Record:
    """Return an example as a record of one question and its answer."""
    expected = example.meta.get("expectations")
    meta = {"expectations": expected} if expected else {}
    messages = (Message("user", example.question or "?"), Message("assistant", example.answer))
    return Record(example.record, example.task_type, messages, meta=meta)


def _numbers(text: str) -> set[Fraction]:
    return {one.value for one in numbers_in(text)}


def _length(answer: str) -> float:
    """Count words; a Chinese character is half of one."""
    return sum(0.5 if len(one) == 1 and ord(one) > 0x2E80 else 1.0 for one in units(answer))
