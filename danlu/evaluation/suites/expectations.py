"""What data makers expect of an answer, as the constraints that a scorer checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from danlu.errors import EvaluationError, did_you_mean
from danlu.workshop.produce.expectation import KINDS

_LIMITS = {
    "min_characters": ("characters", "min"),
    "max_characters": ("characters", "max"),
    "min_words": ("words", "min"),
    "max_words": ("words", "max"),
}
_SAME = {
    "sentences": "sentences",
    "paragraphs": "paragraphs",
    "items": "bullets",
    "ends_with": "ends_with",
    "matches": "matches",
    "language": "language",
    "json_keys": "json_keys",
    "one_of": "one_of",
}
_LISTS = {"contains": "keywords", "excludes": "forbidden"}


def constraints_of(expectations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Turn expectations (``meta["expectations"]`` of a record) into the constraints' reference.

    Raises:
        EvaluationError: If one is of a kind that is not known, or two say different things.

    Example:
        >>> constraints_of([{"kind": "min_words", "value": 3}, {"kind": "json"}])
        {'words': {'min': 3}, 'format': 'json'}
    """
    found: dict[str, Any] = {}
    for one in expectations:
        kind, value = str(one.get("kind")), one.get("value", True)
        if kind in _LIMITS:
            check, end = _LIMITS[kind]
            found.setdefault(check, {})[end] = value
        elif kind in _LISTS:
            found.setdefault(_LISTS[kind], []).append(value)
        elif kind == "json":
            found["format"] = "json"
        elif kind in KINDS and kind not in _SAME:
            found.setdefault("expectations", []).append({"kind": kind, "value": value})
        elif kind not in _SAME:
            raise EvaluationError(f"no such expectation.{did_you_mean(kind, KINDS)}", where=kind)
        elif found.setdefault(_SAME[kind], value) != value:
            raise EvaluationError(
                f"is expected to be {found[_SAME[kind]]!r} and {value!r}.", where=kind
            )
    return found
