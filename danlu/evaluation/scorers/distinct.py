"""How varied answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.score import Score
from danlu.workshop.likeness.text import fold, units


@dataclass(frozen=True, slots=True)
class Distinct:
    """Distinct-n (Li et al. 2016): different n-grams of units over all n-grams, from 0 to 1.

    Falls with the number of units: compare like with like. Missing for an answer with fewer than n.

    Attributes:
        n: Length of the n-grams.

    Raises:
        EvaluationError: If n is below 1.

    Example:
        >>> Distinct(n=1).score("the cat saw the dog", None).value
        0.8
        >>> Distinct(n=1).over_task(["好", "好"], [None, None])
        {'distinct_1': 0.5}
    """

    n: int = 2

    def __post_init__(self) -> None:
        if self.n < 1:
            raise EvaluationError(f"is {self.n}; it must be at least 1.", where="n")

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer; the reference is not read."""
        grams = self._grams(answer)
        if not grams:
            return Score(None, why=f"it has fewer than {self.n} units")
        return Score(len(set(grams)) / len(grams))

    def over_task(self, answers: Sequence[str], references: Sequence[Any]) -> Mapping[str, float]:
        """Return distinct-n of all answers together.

        Raises:
            EvaluationError: If no answer has n units.
        """
        grams = [gram for answer in answers for gram in self._grams(answer)]
        if not grams:
            raise EvaluationError(f"no answer has {self.n} units: there is nothing to count.")
        return {f"distinct_{self.n}": len(set(grams)) / len(grams)}

    def _grams(self, text: str) -> list[tuple[str, ...]]:
        found = units(fold(text))
        return [tuple(found[k : k + self.n]) for k in range(len(found) - self.n + 1)]
