"""Is the answer the reference, up to named differences of writing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from danlu.evaluation.scorers import extract, normalise
from danlu.evaluation.scorers.score import Score, texts_of


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """1 if the answer equals the reference, or one of several, after normalisation; else 0.

    Missing if no extraction rule finds anything.

    Attributes:
        extract: Rules of ``extract``, tried in this order.
        normalise: Rules of ``normalise``, applied to both sides.

    Raises:
        EvaluationError: If a rule is unknown.

    Example:
        >>> ExactMatch().score("《红楼梦》。", "红楼梦").value
        1.0
        >>> ExactMatch(extract=("answer_is",)).score("I do not know", "Paris")
        Score(value=None, read=None, why='no answer found by answer_is')
    """

    extract: tuple[str, ...] = ("whole",)
    normalise: tuple[str, ...] = normalise.DEFAULT

    def __post_init__(self) -> None:
        extract.check_rules(self.extract)
        normalise.check_rules(self.normalise)

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer against a text, or a list of texts of which each is right."""
        allowed = {normalise.normalise(one, self.normalise) for one in texts_of(reference)}
        read = extract.extract(answer, self.extract)
        if read is None:
            return Score(None, why=f"no answer found by {', '.join(self.extract)}")
        given = normalise.normalise(read, self.normalise)
        return Score(float(given in allowed), given)
