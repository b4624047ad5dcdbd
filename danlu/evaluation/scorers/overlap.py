"""BLEU and chrF, through sacrebleu; Chinese is cut into characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.score import Score, check_task, texts_of
from danlu.workshop.likeness.text import has_han


@dataclass(frozen=True, slots=True)
class Bleu:
    """BLEU-4 (Papineni et al. 2002; Post 2018), from 0 to 1.

    Of one answer: smoothed (exponentially), of the n-gram orders that it has. Over a task type: of
    the corpus, which is the figure that papers report.

    Attributes:
        tokenize: ``13a`` for languages with spaces, ``zh`` for Chinese (without it a Chinese
            sentence is one word), or ``auto``: ``zh`` if a reference has a Chinese character.

    Raises:
        EvaluationError: If there is no such way to cut.

    Example:
        >>> round(Bleu().score("今天天气很好", "今天天气好").value, 4)
        0.5373
    """

    tokenize: Literal["auto", "13a", "zh"] = "auto"

    def __post_init__(self) -> None:
        if self.tokenize not in ("auto", "13a", "zh"):
            raise EvaluationError(
                f"is {self.tokenize!r}; allowed: auto, 13a, zh.", where="tokenize"
            )

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer against a text, or several."""
        wanted = texts_of(reference)
        found = self._metric(wanted, effective=True).sentence_score(answer, wanted)
        return Score(found.score / 100)

    def over_task(self, answers: Sequence[str], references: Sequence[Any]) -> Mapping[str, float]:
        """Return the corpus BLEU.

        Raises:
            EvaluationError: If there are no answers.
        """
        check_task(answers, references)
        wanted = [texts_of(reference) for reference in references]
        metric = self._metric([text for texts in wanted for text in texts], effective=False)
        return {"bleu": metric.corpus_score(list(answers), _columns(wanted)).score / 100}

    def _metric(self, references: Sequence[str], *, effective: bool) -> Any:
        metrics = _sacrebleu()
        chinese = any(has_han(text) for text in references)
        cut = ("zh" if chinese else "13a") if self.tokenize == "auto" else self.tokenize
        return metrics.BLEU(tokenize=cut, effective_order=effective)


@dataclass(frozen=True, slots=True)
class Chrf:
    """chrF2 (Popović 2015), from 0 to 1: characters of order 1 to 6; right for Chinese as it is.

    Attributes:
        word_order: 0 for chrF, 2 for chrF++ (which needs spaces between words).

    Example:
        >>> round(Chrf().score("今天天气很好", "今天天气好").value, 4)
        0.5517
    """

    word_order: int = 0

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer against a text, or several."""
        metric = _sacrebleu().CHRF(word_order=self.word_order)
        return Score(metric.sentence_score(answer, texts_of(reference)).score / 100)

    def over_task(self, answers: Sequence[str], references: Sequence[Any]) -> Mapping[str, float]:
        """Return the corpus chrF.

        Raises:
            EvaluationError: If there are no answers.
        """
        check_task(answers, references)
        wanted = _columns([texts_of(reference) for reference in references])
        metric = _sacrebleu().CHRF(word_order=self.word_order)
        return {"chrf": metric.corpus_score(list(answers), wanted).score / 100}


def _columns(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Turn references per answer into sacrebleu's: one list per rank, None where there is none."""
    most = max(map(len, references))
    return [[one[k] if k < len(one) else None for one in references] for k in range(most)]


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise EvaluationError(
            "BLEU and chrF need sacrebleu, which is not installed. Install it with "
            "pip install 'danlu[eval]'."
        ) from error
    return metrics
