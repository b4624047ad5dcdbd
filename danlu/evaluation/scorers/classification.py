"""Is the label right; and accuracy and F1 over a task type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.scorers import extract
from danlu.evaluation.scorers.denial import denied
from danlu.evaluation.scorers.normalise import normalise
from danlu.evaluation.scorers.score import Score, check_task


@dataclass(frozen=True, slots=True)
class Classification:
    """1 if the answer gives the reference's label, 0 if another; missing if none, or several.

    The label is the whole answer, or the only label that stands in it: whole words, the longer of
    two that overlap, none that is denied ("not positive").

    Attributes:
        labels: All that there are.
        extract: Rules of ``extract``, tried in this order.

    Raises:
        EvaluationError: If there are fewer than two labels, or two are equal but for writing.

    Example:
        >>> scorer = Classification(labels=("positive", "negative"))
        >>> scorer.score("Sentiment: Positive.", "positive").value
        1.0
        >>> scorer.over_task(["positive", "negative"], ["positive", "positive"])["accuracy"]
        0.5
    """

    labels: tuple[str, ...]
    extract: tuple[str, ...] = ("boxed", "answer_is", "whole")

    def __post_init__(self) -> None:
        extract.check_rules(self.extract)
        if len(self.labels) < 2 or len({normalise(one) for one in self.labels}) < len(self.labels):
            raise EvaluationError("there must be two different ones or more.", where="labels")

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer.

        Raises:
            EvaluationError: If the reference is no label.
        """
        wanted = self._known(reference)
        found = self.find(answer)
        if len(found) == 1:
            return Score(float(found[0] == wanted), found[0])
        return Score(None, why=f"it gives {', '.join(found)}" if found else "it gives no label")

    def find(self, answer: str) -> list[str]:
        """Return the labels that an answer gives: one, several that contradict, or none."""
        text = extract.extract(answer, self.extract)
        if text is None:
            return []
        given = normalise(text)
        by_text = {normalise(label): label for label in self.labels}
        if given in by_text:
            return [by_text[given]]
        plain = normalise(text, ("nfkc", "case"))
        longest = sorted((normalise(one, ("nfkc", "case")) for one in self.labels), key=len)[::-1]
        # Scripts that put no spaces between words have no word borders to ask for.
        edge = r"(?<![\w--\p{Han}])", r"(?![\w--\p{Han}])"
        pattern = regex.compile(
            f"{edge[0]}(?:{'|'.join(map(regex.escape, longest))}){edge[1]}", regex.VERSION1
        )
        found = {
            by_text[normalise(match[0])]
            for match in pattern.finditer(plain)
            if not denied(plain, match.start(), match.end())
        }
        return [label for label in self.labels if label in found]

    def over_task(self, answers: Sequence[str], references: Sequence[Any]) -> Mapping[str, float]:
        """Return accuracy, macro and micro F1, and the share of answers without a label.

        Macro F1 is the mean over the labels that occur. All three count an answer without a label
        as missed: it is no false label of any, but a label not found. ``unread`` says how many.
        With one label per item, micro F1 differs from accuracy by these alone.

        Raises:
            EvaluationError: If there are no answers, or a reference is no label.
        """
        check_task(answers, references)
        right, wanted, given = Counter[str](), Counter[str](), Counter[str]()
        for answer, reference in zip(answers, references, strict=True):
            label, found = self._known(reference), self.find(answer)
            wanted[label] += 1
            if len(found) == 1:
                given[found[0]] += 1
                right[label] += found[0] == label
        occurring = wanted.keys() | given.keys()
        f1 = [2 * right[one] / (wanted[one] + given[one]) for one in occurring]
        return {
            "accuracy": right.total() / len(answers),
            "macro_f1": sum(f1) / len(f1),
            "micro_f1": 2 * right.total() / (wanted.total() + given.total()),
            "unread": 1 - given.total() / len(answers),
        }

    def _known(self, reference: Any) -> str:
        by_text = {normalise(label): label for label in self.labels}
        if not isinstance(reference, str) or normalise(reference) not in by_text:
            hint = did_you_mean(str(reference), self.labels)
            raise EvaluationError(f"the reference is {reference!r}, no label.{hint}")
        return by_text[normalise(reference)]
