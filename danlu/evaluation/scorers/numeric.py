"""Is the number right, within a tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from danlu.errors import EvaluationError
from danlu.evaluation.scorers import extract
from danlu.evaluation.scorers.numbers import Number, numbers_in, plain
from danlu.evaluation.scorers.score import Score


@dataclass(frozen=True, slots=True)
class Numeric:
    """1 if the answer's number is the reference's, within a tolerance; missing without a number.

    Read are thousands separators, percentages, fractions, powers of ten (1e-3), Chinese numerals
    and units (3.5万, 三千); see ``numbers``. If there are Arabic digits, numbers in characters are
    left aside: the 一 in 一样 is none.

    Attributes:
        relative: Tolerance as a share of the reference.
        absolute: Tolerance in its unit; the greater of both holds.
        percent: ``share`` reads 50% as 0.5; ``plain`` leaves the sign out on both sides.
        several: If the extracted text has several numbers: the ``last`` (as GSM8K is scored), the
            ``first``, or ``missing``.
        extract: Rules of ``extract``, tried in this order.

    Raises:
        EvaluationError: If a tolerance is negative, or a rule unknown.

    Example:
        >>> Numeric().score("3 boxes of 4 are 12 apples.", 12).value
        1.0
        >>> Numeric(relative=0.01).score("大约三万五千元", "35,100").value
        1.0
    """

    relative: float = 1e-9
    absolute: float = 0.0
    percent: Literal["share", "plain"] = "share"
    several: Literal["last", "first", "missing"] = "last"
    extract: tuple[str, ...] = ("boxed", "hashes", "answer_is", "whole")

    def __post_init__(self) -> None:
        extract.check_rules(self.extract)
        for name in ("relative", "absolute"):
            if not 0 <= getattr(self, name) < math.inf:
                raise EvaluationError("must be 0 or more.", where=name)
        if self.percent not in ("share", "plain"):
            raise EvaluationError(f"is {self.percent!r}; allowed: share, plain.", where="percent")
        if self.several not in ("last", "first", "missing"):
            raise EvaluationError(
                f"is {self.several!r}; allowed: last, first, missing.", where="several"
            )

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer against a number, or a text with one number.

        Raises:
            EvaluationError: If the reference is no number.
        """
        wanted = self._reference(reference)
        text = extract.extract(answer, self.extract)
        found = [] if text is None else _arabic_first(text)
        if not found:
            return Score(None, why="it has no number")
        if len(found) > 1 and self.several == "missing":
            return Score(None, why=f"it has {len(found)} numbers")
        given = self._value(found[0 if self.several == "first" else -1])
        allowed = max(Fraction(self.absolute), Fraction(self.relative) * abs(wanted))
        return Score(float(abs(given - wanted) <= allowed), f"{float(given):.15g}")

    def _value(self, number: Number) -> Fraction:
        return number.value / (number.percent if self.percent == "share" else 1)

    def _reference(self, reference: Any) -> Fraction:
        if isinstance(reference, int | float) and not isinstance(reference, bool):
            if math.isfinite(reference):
                return Fraction(str(reference))
        elif isinstance(reference, str):
            found = numbers_in(reference)
            if len(found) == 1:
                return self._value(found[0])
        raise EvaluationError(f"the reference is {reference!r}; it must be one number.")


def _arabic_first(text: str) -> list[Number]:
    found, written = numbers_in(text), plain(text)
    arabic = [one for one in found if any(c.isdigit() for c in written[one.start : one.end])]
    return arabic or found
