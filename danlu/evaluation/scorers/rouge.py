"""ROUGE that is right for Chinese: of units, not of what stands between spaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rapidfuzz.distance import LCSseq

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.score import Score, texts_of
from danlu.workshop.likeness.text import fold, units


@dataclass(frozen=True, slots=True)
class Rouge:
    """F1 of ROUGE-1, 2 or L (Lin 2004), from 0 to 1; of several references, the best.

    Units are words, or characters of scripts without spaces; width, case and traditional characters
    do not count. No stemming: "run" and "runs" are two words.

    Attributes:
        variant: ``1`` and ``2`` count units and pairs of units that both have; ``L`` takes the
            longest common subsequence.

    Raises:
        EvaluationError: If there is no such variant.

    Example:
        >>> print(f"{Rouge('L').score('今天天气很好', '今天天气好').value:.4f}")
        0.9091
    """

    variant: Literal["1", "2", "L"] = "L"

    def __post_init__(self) -> None:
        if self.variant not in ("1", "2", "L"):
            raise EvaluationError(f"is {self.variant!r}; allowed: 1, 2, L.", where="variant")

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer against a text, or several.

        Raises:
            EvaluationError: If a reference has too few units to compare.
        """
        given = units(fold(answer))
        return Score(max(self._f1(given, units(fold(one))) for one in texts_of(reference)))

    def _f1(self, given: Sequence[str], wanted: Sequence[str]) -> float:
        order = 2 if self.variant == "2" else 1
        if len(wanted) < order:
            raise EvaluationError(
                f"the reference has {len(wanted)} units; ROUGE-{self.variant} needs {order}."
            )
        if self.variant == "L":
            common = LCSseq.similarity(given, wanted)
        else:
            grams = [Counter(zip(*(one[k:] for k in range(order)))) for one in (given, wanted)]  # noqa: B905
            common = (grams[0] & grams[1]).total()
        return 2 * common / (max(len(given) - order + 1, 0) + len(wanted) - order + 1)
