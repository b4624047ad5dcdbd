"""What a scorer gives, and what it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from danlu.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one answer.

    Attributes:
        value: From 0 to 1, higher is better, unless the scorer says otherwise; None if it is
            missing: the answer could not be read.
        read: What was read out of the answer and scored; None if nothing was, or all of it.
        why: Why points were lost, or why it is missing; empty otherwise.
    """

    value: float | None
    read: str | None = None
    why: str = ""


class Scorer(Protocol):
    """A frozen config with one method."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer against what was expected.

        Raises:
            EvaluationError: If the reference is not one for this scorer.
        """
        ...


class TaskScorer(Scorer, Protocol):
    """A scorer with figures that only all answers of a task type have together."""

    def over_task(self, answers: Sequence[str], references: Sequence[Any]) -> Mapping[str, float]:
        """Return the figures by name.

        Raises:
            EvaluationError: If there are no answers, or not as many references.
        """
        ...


def texts_of(reference: Any) -> list[str]:
    """Return a reference text, or several of which each is right.

    Raises:
        EvaluationError: If there is none.

    Example:
        >>> texts_of("Paris"), texts_of(["Paris", "Lutetia"])
        (['Paris'], ['Paris', 'Lutetia'])
    """
    found = [reference] if isinstance(reference, str) else reference
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise EvaluationError(
            f"the reference is {reference!r}; it must be a text, or a list of texts of which each "
            "is right."
        )
    if not any(one.strip() for one in found):
        raise EvaluationError("the reference is empty: nothing could be right.")
    return [one for one in found if one.strip()]


def check_task(answers: Sequence[str], references: Sequence[Any]) -> None:
    """Check that there are answers, and as many references.

    Raises:
        EvaluationError: If not.
    """
    if not answers:
        raise EvaluationError("no answers: there is nothing to score.")
    if len(answers) != len(references):
        raise EvaluationError(f"{len(answers)} answers, but {len(references)} references.")
