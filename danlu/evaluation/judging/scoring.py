"""Answers one by one: a score per dimension, and from these usable or not."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from danlu.errors import EvaluationError
from danlu.evaluation.contests import conversation_text
from danlu.evaluation.judging.asking import (
    Judge,
    Question,
    ask_until_read,
    item_language,
    reference_text,
)
from danlu.evaluation.judging.fence import fence
from danlu.evaluation.judging.plan import JUDGE, Dimension, Plan
from danlu.evaluation.judging.reading import read_score
from danlu.evaluation.schema import AnswerRow, Failure, Item, ScoredAnswer
from danlu.records.record import Message

USABILITY = JUDGE
"""Name of the scorer that says usable (1) or not (0)."""
PREFIX = f"{JUDGE}/"
"""Before a dimension's name in the name of its scorer."""
LEAST_READ = 0.5
"""Share of the repeats that must be read; with fewer the score is missing."""

_Key = tuple[str, int, str]


class _Asked(NamedTuple):
    item: Item
    answer: AnswerRow
    dimension: str
    question: Question[float]


def is_judges(scorer: str) -> bool:
    """Tell whether a score is a judge's.

    Example:
        >>> [is_judges(name) for name in ("judge", "judge/helpful", "exact")]
        [True, True, False]
    """
    return scorer == USABILITY or scorer.startswith(PREFIX)


def check_repeats(judge: Judge) -> None:
    """Refuse repeats that could not differ.

    Raises:
        EvaluationError: If a greedy judge is to be asked several times.
    """
    if judge.repeats > 1 and judge.sampling.greedy:
        raise EvaluationError(
            f"repeats is {judge.repeats}, and a greedy judge says the same each time; give it a "
            "temperature above 0, or one repeat."
        )


def judge_answers(
    judge: Judge, plan: Plan, items: Sequence[Item], answers: Iterable[AnswerRow]
) -> list[ScoredAnswer]:
    """Score answers in every dimension of their task type, and say which are usable.

    Each dimension is a question of its own, so that one does not colour the next; what they share
    stands before what differs, so that an endpoint that keeps prefixes reads it once.

    Args:
        judge: Who judges.
        plan: By what.
        items: What was asked.
        answers: To be judged; an answer that is missing has missing scores.

    Returns:
        Per answer a row ``judge/<dimension>`` each, whose value is the mean of the repeats (1 to
        10), and a row ``judge``, whose value is 1 (usable) or 0. What could not be read is missing.

    Raises:
        EvaluationError: If an answer's item is not there, or nothing applies to it.
    """
    check_repeats(judge)
    by_id = {item.id: item for item in items}
    asked: list[_Asked] = []
    rows: dict[_Key, ScoredAnswer] = {}
    judged: list[tuple[Item, AnswerRow, dict[str, Dimension]]] = []
    for answer in answers:
        if answer.item not in by_id:
            raise EvaluationError("answers an item that is not there.", where=answer.item)
        item = by_id[answer.item]
        dimensions = plan.of_item(item)
        judged.append((item, answer, dimensions))
        if answer.text is None:
            why = answer.failure or Failure(kind="endpoint", message="there is no answer")
            for name in dimensions:
                rows[item.id, answer.sample, name] = _row(item, answer, PREFIX + name, None, why)
            continue
        for name, dimension in dimensions.items():
            messages = _messages(judge, item, answer, name, dimension)
            for repeat in range(judge.repeats):
                question: Question[float] = Question(messages, item_language(item), repeat, item.id)
                asked.append(_Asked(item, answer, name, question))
    ask_until_read(judge, [one.question for one in asked], read_score, "reask_score")
    together: dict[_Key, list[_Asked]] = defaultdict(list)
    for one in asked:
        together[one.item.id, one.answer.sample, one.dimension].append(one)
    rows |= {key: _dimension_row(of_key) for key, of_key in together.items()}
    found: list[ScoredAnswer] = []
    for item, answer, dimensions in judged:
        own = {name: rows[item.id, answer.sample, name] for name in dimensions}
        found += [*own.values(), _usability_row(plan, item, answer, own)]
    return found


def _messages(
    judge: Judge, item: Item, answer: AnswerRow, name: str, dimension: Dimension
) -> tuple[Message, ...]:
    language = item_language(item)
    reference = "" if judge.without_reference else reference_text(item)
    asked = conversation_text(answer.asked or item.messages)
    texts = {"conversation": asked, "answer": answer.text or ""}
    fenced = fence(texts | ({"reference": reference} if reference else {}))
    return judge.prompts.render(
        "score",
        language,
        mark=fenced.mark,
        conversation=fenced.texts["conversation"],
        reference=fenced.texts.get("reference", ""),
        answer=fenced.texts["answer"],
        dimension=name,
        question=dimension.question(language),
        bands=dimension.own_bands(language),
    )


def _dimension_row(asked: Sequence[_Asked]) -> ScoredAnswer:
    """Make one row of the repeats of one question."""
    first = asked[0]
    scorer = PREFIX + first.dimension
    values = [one.question.read.value if one.question.read else None for one in asked]
    read = [value for value in values if value is not None]
    details: dict[str, Any] = {"asks": sum(one.question.asks for one in asked)}
    if len(asked) > 1:
        details |= {"repeats": values}
        details |= {"sd": round(stdev(read), 4)} if len(read) > 1 else {}
    if len(read) < LEAST_READ * len(asked) or not read:
        failure = next(one.question.failure for one in asked if one.question.failure)
        return _row(first.item, first.answer, scorer, None, failure, details=details)
    mean = fmean(read)
    # Of several explanations the one whose score is nearest to the mean.
    told = min(
        (one.question.read for one in asked if one.question.read),
        key=lambda found: abs(found.value - mean),
    )
    return _row(first.item, first.answer, scorer, mean, None, why=told.why, details=details)


def _usability_row(
    plan: Plan, item: Item, answer: AnswerRow, own: dict[str, ScoredAnswer]
) -> ScoredAnswer:
    rule = plan.rule(item.task_type)
    counted = {name for name in own if rule.dimensions[name] or name in rule.at_least}
    missing = [row for name, row in own.items() if row.value is None and name in counted]
    if missing:
        names = ", ".join(row.scorer.removeprefix(PREFIX) for row in missing)
        failure = missing[0].failure
        if answer.text is not None and failure is not None:
            failure = Failure(kind=failure.kind, message=f"no score for: {names}")
        return _row(item, answer, USABILITY, None, failure)
    scores = {name: row.value for name, row in own.items() if row.value is not None}
    made = plan.usability(item.task_type, scores)
    details: dict[str, Any] = {"score": round(made.score, 4), "plan": plan.fingerprint()}
    why = ""
    if not made.usable:
        low = [f"{n} {scores[n]:g} is below {rule.at_least[n]:g}" for n in made.below]
        mean = f"weighted mean {math.floor(made.score * 100) / 100:g} of {rule.usable_from:g}"
        why = "; ".join(low or [mean])
    return _row(item, answer, USABILITY, float(made.usable), None, why=why, details=details)


def _row(
    item: Item,
    answer: AnswerRow,
    scorer: str,
    value: float | None,
    failure: Failure | None,
    *,
    why: str = "",
    details: dict[str, Any] | None = None,
) -> ScoredAnswer:
    return ScoredAnswer(
        item=item.id,
        task_type=item.task_type,
        sample=answer.sample,
        scorer=scorer,
        value=value,
        why=why,
        failure=failure,
        details=details or {},
    )
