"""How long answers are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.score import Score
from danlu.workshop.likeness.text import units


@dataclass(frozen=True, slots=True)
class Length:
    """The length of an answer: a figure beside others, neither better nor worse when it is higher.

    Attributes:
        unit: ``words`` (a Chinese character is one), or ``characters``.
        relative: Divide by the reference's length.

    Raises:
        EvaluationError: If there is no such unit.

    Example:
        >>> Length().score("用 Python 写排序", None).value
        5.0
        >>> Length(relative=True).score("yes", "yes indeed").value
        0.5
    """

    unit: Literal["words", "characters"] = "words"
    relative: bool = False

    def __post_init__(self) -> None:
        if self.unit not in ("words", "characters"):
            raise EvaluationError(f"is {self.unit!r}; allowed: words, characters.", where="unit")

    def score(self, answer: str, reference: Any) -> Score:
        """Measure one answer.

        Raises:
            EvaluationError: If it is to be compared with a reference of no length.
        """
        length = self._length(answer)
        if not self.relative:
            return Score(length)
        wanted = self._length(reference) if isinstance(reference, str) else 0.0
        if not wanted:
            raise EvaluationError(f"the reference is {reference!r}; it must be a text with length.")
        return Score(length / wanted)

    def _length(self, text: str) -> float:
        return float(len(units(text)) if self.unit == "words" else len(text.strip()))
