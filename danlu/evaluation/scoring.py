"""From answers and log-probabilities to scores: one row per answer and scorer; missing is said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from danlu.errors import EvaluationError
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.likelihood.scorers import LIKELIHOODS, make_likelihood
from danlu.evaluation.schema import (
    AnswerRow,
    Failure,
    Item,
    LikelihoodRow,
    ScoredAnswer,
    TypeStakes,
)
from danlu.evaluation.scorers import SCORERS, Scorer, make_scorer
from danlu.evaluation.suites.stakes import base_name

Progress = Callable[[str, int, int], None]
RUNS_CODE = ("unit_tests",)
"""Scorers that are not tried before there are answers."""


def names_of(stakes: TypeStakes) -> tuple[str, ...]:
    """Return the names of a task type's scorers, the one that counts first."""
    return (stakes.scorer, *stakes.also)


def is_generated(stakes: TypeStakes) -> bool:
    """Whether any of its scorers reads answers."""
    return any(base_name(name) not in LIKELIHOODS for name in names_of(stakes))


def reads_likelihoods(stakes: TypeStakes) -> bool:
    """Whether any of its scorers reads log-probabilities."""
    return any(base_name(name) in LIKELIHOODS for name in names_of(stakes))


def answer_scorers(stakes: TypeStakes) -> dict[str, Scorer]:
    """Make the scorers of a task type that read answers, by name; judges are none of them."""
    return {
        name: make_scorer(base_name(name), stakes.settings.get(name))
        for name in names_of(stakes)
        if base_name(name) in SCORERS
    }


def check_references(items: Iterable[Item], task_types: Mapping[str, TypeStakes]) -> None:
    """Check that every item has what its scorers need, before a model is asked for hours.

    Raises:
        EvaluationError: If one has not; names the item and the scorer.
    """
    scorers = {name: answer_scorers(of) for name, of in task_types.items()}
    for item in items:
        for name, scorer in scorers[item.task_type].items():
            if base_name(name) in RUNS_CODE:
                continue
            try:
                scorer.score("-", item.reference)
            except EvaluationError as error:
                raise EvaluationError(error.message, where=f"item {item.id}: {name}") from error
        stakes = task_types[item.task_type]
        for name in names_of(stakes):
            if base_name(name) in LIKELIHOODS:
                maker = make_likelihood(base_name(name), stakes.settings.get(name))
                try:
                    maker.options(item)
                except EvaluationError as error:
                    raise EvaluationError(error.message, where=f"item {item.id}: {name}") from error


def score_all(directory: EvalDirectory, progress: Progress) -> list[ScoredAnswer]:
    """Score everything that is there; rows of judges, which are not made here, are kept."""
    types = directory.evaluation().task_types
    items = {item.id: item for item in directory.items()}
    answers = list(directory.answers())
    scorers = {name: answer_scorers(of) for name, of in types.items()}
    rows: list[ScoredAnswer] = []
    for done, answer in enumerate(answers):
        item = items[answer.item]
        progress("scoring", done, len(answers))
        rows += (_scored(item, answer, name, one) for name, one in scorers[item.task_type].items())
    progress("scoring", len(answers), len(answers))
    rows += _by_likelihood(items.values(), types, directory.likelihoods())
    made = {row.scorer for row in rows}
    known = {(row.item, row.sample) for row in answers}
    for row in directory.scores():
        ours = base_name(row.scorer) in SCORERS or base_name(row.scorer) in LIKELIHOODS
        if not ours and row.scorer not in made and (row.item, row.sample) in known:
            rows.append(row)
    return rows


def _scored(item: Item, answer: AnswerRow, name: str, scorer: Scorer) -> ScoredAnswer:
    if answer.text is None:
        failure = answer.failure or Failure(kind="endpoint", message="there is no answer")
        return _missing(item, answer.sample, name, failure)
    try:
        found = scorer.score(answer.text, item.reference)
    except EvaluationError as error:
        failure = Failure(kind="scorer", message=str(error))
        return _missing(item, answer.sample, name, failure)
    missing = found.value is None
    return ScoredAnswer(
        item=item.id,
        task_type=item.task_type,
        sample=answer.sample,
        scorer=name,
        value=found.value,
        read=found.read,
        why="" if missing else found.why,
        failure=Failure(kind="not_read", message=found.why) if missing else None,
    )


def _missing(item: Item, sample: int, name: str, failure: Failure) -> ScoredAnswer:
    return ScoredAnswer(
        item=item.id,
        task_type=item.task_type,
        sample=sample,
        scorer=name,
        value=None,
        failure=failure,
    )


def likelihoods_by_item(rows: Iterable[LikelihoodRow]) -> dict[str, dict[str, LikelihoodRow]]:
    """Sort log-probabilities by item and key."""
    found: dict[str, dict[str, LikelihoodRow]] = defaultdict(dict)
    for row in rows:
        found[row.item][row.option] = row
    return found


def _by_likelihood(
    items: Iterable[Item], types: Mapping[str, TypeStakes], rows: Iterable[LikelihoodRow]
) -> Iterator[ScoredAnswer]:
    by_item = likelihoods_by_item(rows)
    for item in items:
        stakes = types[item.task_type]
        for name in names_of(stakes):
            if base_name(name) not in LIKELIHOODS:
                continue
            scorer = make_likelihood(base_name(name), stakes.settings.get(name))
            found = by_item.get(item.id, {})
            failure = lacking(scorer.options(item), found)
            if failure is not None:
                yield _missing(item, 0, name, failure)
                continue
            score = scorer.score(item, found)
            shown = {
                row.text: row.logprob for key, row in found.items() if key in scorer.options(item)
            }
            yield ScoredAnswer(
                item=item.id,
                task_type=item.task_type,
                scorer=name,
                value=score.value,
                read=score.read,
                failure=Failure(kind="not_read", message=score.why)
                if score.value is None
                else None,
                details={"logprobs": shown},
            )


def lacking(wanted: Mapping[str, str], found: Mapping[str, LikelihoodRow]) -> Failure | None:
    """Return why not every text has a log-probability; None if all have."""
    for key in wanted:
        row = found.get(key)
        if row is None:
            return Failure(kind="scorer", message="its log-probability was never computed")
        if row.logprob is None:
            return row.failure or Failure(kind="scorer", message="no log-probability")
    return None
