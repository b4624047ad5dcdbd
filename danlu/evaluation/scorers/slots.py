"""Slots, entities, fields: F1 of what was found against what there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.json_reading import NoJsonError, read_json
from danlu.evaluation.scorers.normalise import DEFAULT, check_rules, normalise
from danlu.evaluation.scorers.score import Score, check_task

Pair = tuple[str, str]

SLOT_KEYS = ("type", "slot", "label", "entity_type")
VALUE_KEYS = ("text", "value", "entity", "word")


@dataclass(frozen=True, slots=True)
class Slots:
    """F1 of pairs (slot, value) in the answer's JSON; an answer that is none has found nothing.

    Read are ``{"city": "Paris", "day": ["Mon", "Tue"]}``, ``[["city", "Paris"]]`` and
    ``[{"type": "city", "text": "Paris"}]`` (also ``slot``, ``label``, ``entity_type``; ``value``,
    ``entity``, ``word``). Pairs count as often as they occur; empty values count as not given. If
    there is nothing to find, finding nothing scores 1.

    Attributes:
        normalise: Rules of ``normalise``, applied to the values on both sides.

    Example:
        >>> found = Slots().score('{"city": "paris", "day": "Mon"}', {"city": "Paris"})
        >>> print(f"{found.value:.3f} {found.why}")
        0.667 too much: day=mon
    """

    normalise: tuple[str, ...] = DEFAULT

    def __post_init__(self) -> None:
        check_rules(self.normalise)

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer.

        Raises:
            EvaluationError: If the reference is not slots.
        """
        wanted = self._wanted(reference)
        try:
            given = self._pairs(read_json(answer))
        except NoJsonError as error:
            return Score(0.0, why=str(error))
        if not wanted and not given:
            return Score(1.0)
        said = [
            f"{what}: {', '.join(f'{slot}={value}' for slot, value in pairs.elements())}"
            for what, pairs in (("not found", wanted - given), ("too much", given - wanted))
            if pairs
        ]
        return Score(
            _f1((wanted & given).total(), wanted.total(), given.total()), why="; ".join(said)
        )

    def over_task(self, answers: Sequence[str], references: Sequence[Any]) -> Mapping[str, float]:
        """Return precision, recall and micro F1 over all pairs, and macro F1 over slots.

        Raises:
            EvaluationError: If there are no answers, nothing to find in any, or a reference is not
                slots.
        """
        check_task(answers, references)
        right, wanted, given = Counter[str](), Counter[str](), Counter[str]()
        for answer, reference in zip(answers, references, strict=True):
            expected = self._wanted(reference)
            try:
                found = self._pairs(read_json(answer))
            except NoJsonError:
                found = Counter()
            for counter, pairs in ((right, expected & found), (wanted, expected), (given, found)):
                for (slot, _), count in pairs.items():
                    counter[slot] += count
        if not wanted:
            raise EvaluationError("no reference has a slot: an F1 of nothing is undefined.")
        each = [
            _f1(right[slot], wanted[slot], given[slot]) for slot in wanted.keys() | given.keys()
        ]
        figures = {
            "recall": right.total() / wanted.total(),
            "micro_f1": _f1(right.total(), wanted.total(), given.total()),
            "macro_f1": sum(each) / len(each),
        }
        if given:  # the precision of nothing is undefined
            figures["precision"] = right.total() / given.total()
        return figures

    def _wanted(self, reference: Any) -> Counter[Pair]:
        try:
            return self._pairs(read_json(reference) if isinstance(reference, str) else reference)
        except NoJsonError as error:
            raise EvaluationError(f"the reference {reference!r} is not slots: {error}") from error

    def _pairs(self, value: Any) -> Counter[Pair]:
        if isinstance(value, Mapping):
            pairs = list(value.items())
        elif isinstance(value, list | tuple):
            pairs = [_pair(one) for one in value]
        else:
            raise NoJsonError("not slots: neither an object nor a list")
        found = Counter[Pair]()
        for slot, values in pairs:
            for one in values if isinstance(values, list | tuple) else [values]:
                if isinstance(one, Mapping | list):
                    raise NoJsonError("not slots: a value in a value")
                text = "" if one is None else normalise(str(one), self.normalise)
                if text:
                    found[str(slot), text] += 1
        return found


def _pair(entry: Any) -> tuple[str, Any]:
    if isinstance(entry, list | tuple) and len(entry) == 2:
        return str(entry[0]), entry[1]
    if isinstance(entry, Mapping):
        slot = next((entry[key] for key in SLOT_KEYS if key in entry), None)
        value = next((entry[key] for key in VALUE_KEYS if key in entry), None)
        if slot is not None and value is not None:
            return str(slot), value
    raise NoJsonError(f"not slots: {entry!r} is neither a pair nor has a type and a text")


def _f1(right: int, wanted: int, given: int) -> float:
    return 2 * right / (wanted + given)
