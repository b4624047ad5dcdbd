"""From log-probabilities to a score: scorers that read no answer, but what the model gives a text.

They need the model in this process. What it gave is kept, so scores can be made anew without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.schema import Item, LikelihoodRow
from danlu.evaluation.scorers.score import Score, texts_of

Normalise = Literal["none", "tokens", "characters"]
Of = Literal["keys", "texts"]
NORMALISES: tuple[Normalise, ...] = ("none", "tokens", "characters")


class LikelihoodScorer(Protocol):
    """A frozen config with three methods."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def options(self, item: Item) -> dict[str, str]:
        """Return the texts whose probability is asked for, by key; the reference's key is empty.

        Raises:
            EvaluationError: If the item does not say them.
        """
        ...

    def score(self, item: Item, found: Mapping[str, LikelihoodRow]) -> Score:
        """Score an item by what was found, by key; every one has a log-probability."""
        ...

    def over_task(
        self, items: Sequence[Item], found: Sequence[Mapping[str, LikelihoodRow]]
    ) -> Mapping[str, float]:
        """Return figures of all items together."""
        ...


def _reference(item: Item) -> dict[str, str]:
    if is_text(item):
        return {"": str(item.messages[0].get("content") or "")}
    return {"": texts_of(item.reference)[0]}


def is_text(item: Item) -> bool:
    """Whether the item is plain text to be read, not a question."""
    return len(item.messages) == 1 and item.messages[0].get("role") == "text"


def _logprob(row: LikelihoodRow) -> float:
    assert row.logprob is not None
    return row.logprob


def _figures(found: Sequence[Mapping[str, LikelihoodRow]]) -> dict[str, float]:
    """Sum and mean of the probability and of its logarithm, and the perplexity."""
    rows = [one[""] for one in found]
    logprobs = [_logprob(row) for row in rows]
    probabilities = [math.exp(value) for value in logprobs]
    tokens = sum(row.tokens for row in rows)
    return {
        "perplexity": math.exp(min(-math.fsum(logprobs) / tokens, 700.0)),
        "sum_probability": math.fsum(probabilities),
        "mean_probability": math.fsum(probabilities) / len(rows),
        "sum_logprob": math.fsum(logprobs),
        "mean_logprob": math.fsum(logprobs) / len(rows),
    }


@dataclass(frozen=True, slots=True)
class Likelihood:
    """P(reference | question): moves with the easy items, and before accuracy does."""

    def options(self, item: Item) -> dict[str, str]:
        """Return the reference; of several, the first."""
        return _reference(item)

    def score(self, item: Item, found: Mapping[str, LikelihoodRow]) -> Score:
        """Return the probability, from 0 to 1."""
        return Score(math.exp(_logprob(found[""])))

    def over_task(
        self, items: Sequence[Item], found: Sequence[Mapping[str, LikelihoodRow]]
    ) -> Mapping[str, float]:
        """Return sums, means and the perplexity."""
        return _figures(found)


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """The logarithm of P(reference | question), in nats: moves with the hopeless items."""

    def options(self, item: Item) -> dict[str, str]:
        """Return the reference; of several, the first."""
        return _reference(item)

    def score(self, item: Item, found: Mapping[str, LikelihoodRow]) -> Score:
        """Return the log-probability, at most 0."""
        return Score(_logprob(found[""]))

    def over_task(
        self, items: Sequence[Item], found: Sequence[Mapping[str, LikelihoodRow]]
    ) -> Mapping[str, float]:
        """Return sums, means and the perplexity."""
        return _figures(found)


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Mean log-probability of a token, in nats: of the reference, or of plain text.

    Its negative is the cross-entropy; ``perplexity`` of a task type is the exponential of that over
    all its tokens.
    """

    def options(self, item: Item) -> dict[str, str]:
        """Return the reference, or the text."""
        return _reference(item)

    def score(self, item: Item, found: Mapping[str, LikelihoodRow]) -> Score:
        """Return the mean, at most 0; missing where no token is predicted."""
        row = found[""]
        if not row.tokens:
            return Score(None, why="no token of it is predicted")
        return Score(_logprob(row) / row.tokens)

    def over_task(
        self, items: Sequence[Item], found: Sequence[Mapping[str, LikelihoodRow]]
    ) -> Mapping[str, float]:
        """Return sums, means and the perplexity."""
        predicted = [one for one in found if one[""].tokens]
        return _figures(predicted) if predicted else {}


@dataclass(frozen=True, slots=True)
class LikelihoodChoice:
    """1 if the reference's option is the likeliest, else 0.

    Options are those of the item (``context.options``, or of its reference), else the labels.

    Attributes:
        labels: The options of items that name none.
        normalise: ``none`` compares log-probabilities; ``tokens`` and ``characters`` divide them by
            the option's length first, so that long options are not put back.
        of: Where options have keys (A, B, C, D), whether these are what is answered (``keys``), or
            their ``texts``.

    Raises:
        EvaluationError: If a setting is unknown.
    """

    labels: tuple[str, ...] = ()
    normalise: Normalise = "none"
    of: Of = "keys"

    def __post_init__(self) -> None:
        if self.normalise not in NORMALISES:
            raise EvaluationError(
                f"is {self.normalise!r}; allowed: {', '.join(NORMALISES)}.", where="normalise"
            )
        if self.of not in ("keys", "texts"):
            raise EvaluationError(f"is {self.of!r}; allowed: keys, texts.", where="of")

    def options(self, item: Item) -> dict[str, str]:
        """Return the options by key.

        Raises:
            EvaluationError: If there are fewer than two, or the reference is none of them.
        """
        found = self._options(item)
        if len(found) < 2:
            raise EvaluationError(
                f"has {len(found)} options to choose from; name them in context.options, or as "
                "labels of the task type.",
                where=f"item {item.id}",
            )
        if (wanted := self._wanted(item)) not in found:
            raise EvaluationError(
                f"the reference is {wanted!r}, and no option is.{did_you_mean(wanted, found)}",
                where=f"item {item.id}",
            )
        return found

    def _options(self, item: Item) -> dict[str, str]:
        given: Any = item.context.get("options")
        if given is None and isinstance(item.reference, Mapping):
            given = item.reference.get("options")
        given = list(self.labels) if given is None else given
        if isinstance(given, Mapping):
            return {key: str(text) if self.of == "texts" else key for key, text in given.items()}
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise EvaluationError(
                f"its options are {given!r}; they must be a list of texts, or texts by key.",
                where=f"item {item.id}",
            )
        return {text: text for text in given}

    def _wanted(self, item: Item) -> str:
        given = item.reference
        return str(given.get("answer") if isinstance(given, Mapping) else given)

    def score(self, item: Item, found: Mapping[str, LikelihoodRow]) -> Score:
        """Score one item; the first of equally likely options is taken."""
        taken = self.chosen(item, found, self.normalise)
        return Score(float(taken == self._wanted(item)), taken)

    def chosen(self, item: Item, found: Mapping[str, LikelihoodRow], normalise: Normalise) -> str:
        """Return the key of the likeliest option."""

        def value(key: str) -> float:
            row = found[key]
            lengths = {"none": 1, "tokens": row.tokens, "characters": len(row.text)}
            return _logprob(row) / max(1, lengths[normalise])

        return max(self.options(item), key=value)

    def over_task(
        self, items: Sequence[Item], found: Sequence[Mapping[str, LikelihoodRow]]
    ) -> Mapping[str, float]:
        """Return the accuracy by each normalisation, and the mean probability of what is right.

        ``share_right`` is the probability of the right option among the options.
        """
        figures = {
            f"accuracy_{name}": math.fsum(
                self.chosen(item, rows, name) == self._wanted(item)
                for item, rows in zip(items, found, strict=True)
            )
            / len(items)
            for name in NORMALISES
        }
        shares = []
        for item, rows in zip(items, found, strict=True):
            logprobs = {key: _logprob(rows[key]) for key in self.options(item)}
            peak = max(logprobs.values())
            total = math.fsum(math.exp(value - peak) for value in logprobs.values())
            shares.append(math.exp(logprobs[self._wanted(item)] - peak) / total)
        return figures | {"share_right": math.fsum(shares) / len(shares)}


LIKELIHOODS: Mapping[str, type[LikelihoodScorer]] = {
    "likelihood": Likelihood,
    "loglikelihood": LogLikelihood,
    "perplexity": Perplexity,
    "likelihood_choice": LikelihoodChoice,
}


def make_likelihood(name: str, settings: Mapping[str, Any] | None = None) -> LikelihoodScorer:
    """Make a scorer from its name and its settings.

    Raises:
        EvaluationError: If a setting is unknown or wrong.
    """
    maker = LIKELIHOODS[name]
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in (settings or {}).items()}
    for key in plain:
        if key not in maker.__dataclass_fields__:
            raise EvaluationError(
                f"no such setting.{did_you_mean(key, maker.__dataclass_fields__)}",
                where=f"{name}.{key}",
            )
    return maker(**plain)
