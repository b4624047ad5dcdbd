"""From an answer to a score: one file per scorer, and this list of them.

A scorer is a frozen config with one method ``score(answer, reference)``; what is only known of all
answers of a task type together (an F1, a corpus BLEU) is a second method, ``over_task``. An answer
that cannot be read is missing, never 0, unless its form is what is asked for (JSON, constraints).
Adding one is one file, its test, and one line in ``SCORERS``. Never here: a model, or torch.
"""

from collections.abc import Mapping
from typing import Any

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.scorers.choice import Choice
from danlu.evaluation.scorers.classification import Classification
from danlu.evaluation.scorers.constraints import Constraints
from danlu.evaluation.scorers.distinct import Distinct
from danlu.evaluation.scorers.exact_match import ExactMatch
from danlu.evaluation.scorers.json_equal import JsonEqual
from danlu.evaluation.scorers.json_schema import JsonSchema
from danlu.evaluation.scorers.length import Length
from danlu.evaluation.scorers.numeric import Numeric
from danlu.evaluation.scorers.overlap import Bleu, Chrf
from danlu.evaluation.scorers.phrases import Phrases
from danlu.evaluation.scorers.rouge import Rouge
from danlu.evaluation.scorers.score import Score, Scorer, TaskScorer
from danlu.evaluation.scorers.slots import Slots
from danlu.evaluation.scorers.unit_tests import UnitTests

SCORERS: Mapping[str, type[Scorer]] = {
    "exact": ExactMatch,
    "choice": Choice,
    "numeric": Numeric,
    "classification": Classification,
    "slots": Slots,
    "json_equal": JsonEqual,
    "json_schema": JsonSchema,
    "constraints": Constraints,
    "phrases": Phrases,
    "unit_tests": UnitTests,
    "bleu": Bleu,
    "chrf": Chrf,
    "rouge": Rouge,
    "distinct": Distinct,
    "length": Length,
}


def make_scorer(name: str, settings: Mapping[str, Any] | None = None) -> Scorer:
    """Make a scorer from its name and its settings, as a suite's YAML has them.

    Raises:
        EvaluationError: If there is no such scorer, or a setting is unknown or wrong.

    Example:
        >>> make_scorer("exact", {"normalise": ["case"]}).score("Paris", "paris").value
        1.0
    """
    if name not in SCORERS:
        raise EvaluationError(f"no such scorer.{did_you_mean(name, SCORERS)}", where=name)
    maker = SCORERS[name]
    allowed = maker.__dataclass_fields__
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in (settings or {}).items()}
    for key in plain:
        if key not in allowed:
            raise EvaluationError(
                f"no such setting.{did_you_mean(key, allowed)}", where=f"{name}.{key}"
            )
    try:
        return maker(**plain)
    except TypeError as error:
        raise EvaluationError(str(error), where=name) from error


__all__ = ["SCORERS", "Score", "Scorer", "TaskScorer", "make_scorer"]
