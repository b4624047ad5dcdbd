"""Is the answer's JSON the reference's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.json_reading import NoJsonError, read_json
from danlu.evaluation.scorers.score import Score


@dataclass(frozen=True, slots=True)
class JsonEqual:
    """1 if the answer's JSON equals the reference, else 0; what is no JSON is wrong, not missing.

    Attributes:
        ignore: Keys that are left out on both sides, at any depth.
        any_order: Compare lists as bags.
        tolerance: Relative, of numbers; 1 and 1.0 are equal, true and 1 are not.
        bare: Allow nothing around the JSON.

    Example:
        >>> JsonEqual().score('{"b": 2.0, "a": [1]}', {"a": [1], "b": 2}).value
        1.0
        >>> JsonEqual().score('{"a": [1, 3]}', {"a": [1, 2]}).why
        'at a[1]: 3 instead of 2'
    """

    ignore: tuple[str, ...] = ()
    any_order: bool = False
    tolerance: float = 1e-9
    bare: bool = False

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer against a JSON value; a text is read as JSON.

        Raises:
            EvaluationError: If the reference is a text and no JSON.
        """
        if isinstance(reference, str):
            try:
                reference = read_json(reference, bare=True)
            except NoJsonError as error:
                raise EvaluationError(f"the reference is no JSON: {error}") from error
        try:
            given = read_json(answer, bare=self.bare)
        except NoJsonError as error:
            return Score(0.0, why=str(error))
        why = self._difference(given, reference, "")
        return Score(float(not why), why=why)

    def _difference(self, given: Any, wanted: Any, where: str) -> str:
        """Return where and how two values differ first; empty if they do not."""
        if isinstance(given, dict) and isinstance(wanted, Mapping):
            keys = {key for key in (*given, *wanted) if key not in self.ignore}
            for key in sorted(keys):
                path = f"{where}.{key}" if where else key
                if key not in given or key not in wanted:
                    return f"at {path}: {'missing' if key in wanted else 'not asked for'}"
                if why := self._difference(given[key], wanted[key], path):
                    return why
            return ""
        if isinstance(given, list) and isinstance(wanted, list | tuple):
            if len(given) != len(wanted):
                return f"at {where or 'the top'}: {len(given)} items instead of {len(wanted)}"
            if self.any_order:
                return self._bags(given, list(wanted), where)
            pairs = enumerate(zip(given, wanted, strict=True))
            found = (self._difference(a, b, f"{where}[{k}]") for k, (a, b) in pairs)
            return next(filter(None, found), "")
        if self._equal(given, wanted):
            return ""
        return f"at {where or 'the top'}: {given!r} instead of {wanted!r}"

    def _bags(self, given: list[Any], wanted: list[Any], where: str) -> str:
        for one in given:
            place = next(
                (k for k, w in enumerate(wanted) if not self._difference(one, w, "")), None
            )
            if place is None:
                return f"at {where or 'the top'}: {one!r} was not asked for"
            del wanted[place]
        return ""

    def _equal(self, given: Any, wanted: Any) -> bool:
        numbers = [isinstance(v, int | float) and not isinstance(v, bool) for v in (given, wanted)]
        if all(numbers):
            return math.isclose(given, wanted, rel_tol=self.tolerance, abs_tol=0.0)
        return type(given) is type(wanted) and bool(given == wanted)
