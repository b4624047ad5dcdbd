"""What is asked of every model on the way: of the target and of all else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain

from danlu.diagnosis.asking import Ask, Pair
from danlu.diagnosis.examples import Example
from danlu.diagnosis.fit.measured import LONGEST as LONGEST_ANSWER
from danlu.diagnosis.forgetting.general import LONGEST, ask_of, is_right, suite_items
from danlu.diagnosis.measure import Measure
from danlu.diagnosis.squeeze.plan import Wish
from danlu.diagnosis.subject import Subject
from danlu.errors import EvaluationError
from danlu.evaluation.suites import Suite, load_suite

GENERAL = "general"


@dataclass(frozen=True, eq=False)
class Question:
    """One question with what makes an answer right.

    Attributes:
        id: Of the item, or of the record.
        task_type: ``area/skill``.
        ask: The prompt.
        longest: Its answer is cut there, in tokens.
        is_right: Tells whether an answer is.
    """

    id: str
    task_type: str
    ask: Ask
    longest: int
    is_right: Callable[[str], bool]


@dataclass(frozen=True)
class Questions:
    """All questions.

    Attributes:
        target: Of the task.
        general: Of anything else.
        references: Answers of the task's own records, whose probability is asked for.
        source: Where the target's questions are from, in words.
    """

    target: tuple[Question, ...]
    general: tuple[Question, ...]
    references: tuple[Pair, ...]
    source: str


def questions_of(subject: Subject, wish: Wish) -> Questions:
    """Choose what is asked.

    Args:
        subject: Any run of the squeeze: they all have the same records.
        wish: Names suites. The target's questions are theirs; where they have none of it, its
            held-out records, or where nothing is held out the records that it learns. General
            questions are all others of the suites, or the general suite's.

    Raises:
        EvaluationError: If a suite cannot be read, or has no question that can be asked.
    """
    suites = [load_suite(name).limited(wish.questions) for name in wish.suites]
    own = list(chain.from_iterable(_of_suite(suite) for suite in suites))
    target = [one for one in own if wish.is_of_task(one.task_type)]
    general = [one for one in own if not wish.is_of_task(one.task_type)]
    types = [name for name in subject.examples.task_types() if wish.is_of_task(name)]
    held_out = subject.examples.draw("eval", wish.questions, task_types=types)
    examples = held_out or subject.examples.draw("train", wish.questions, task_types=types)
    source = f"questions of {', '.join(wish.suites)}"
    if not target:
        target = list(_of_records(examples, subject.measures(examples)))
        source = "held-out records" if held_out else "records that are learned"
    if not general:
        every = _of_suite(load_suite(GENERAL).limited(wish.questions))
        general = [one for one in every if not wish.is_of_task(one.task_type)]
    for name, found in (("the task", target), ("anything else", general)):
        if not found:
            raise EvaluationError(
                f"no question of {name} can be asked and scored by its answer: name a suite that "
                "has some.",
                where="--suite",
            )
    references = tuple(one.pair() for one in examples)
    return Questions(tuple(target), tuple(general), references, source)


def _of_suite(suite: Suite) -> Iterable[Question]:
    for longest, items in suite_items(suite).items():
        for item in items:
            right = partial(is_right, item=item, stakes=suite.task_types[item.task_type])
            yield Question(f"{suite.name}/{item.id}", item.task_type, ask_of(item), longest, right)


def _of_records(examples: Iterable[Example], measures: dict[str, Measure]) -> Iterable[Question]:
    for one in examples:
        longest = min(LONGEST_ANSWER, 2 * (len(one.answer_ids) or LONGEST) + 8)
        right = partial(measures[one.task_type].is_right, example=one)
        yield Question(one.record, one.task_type, one.ask, longest, right)
