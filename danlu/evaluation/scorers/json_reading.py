"""The JSON in an answer."""

from __future__ import annotations

import json
from typing import Any

from danlu.evaluation.scorers.extract import extract
from danlu.records.json_text import TOO_DEEP, shallow


class NoJsonError(ValueError):
    """An answer has no valid JSON; its text says why."""


def read_json(answer: str, *, bare: bool = False) -> Any:
    """Read the JSON of an answer: all of it, the last fenced block, or the first that begins.

    Args:
        answer: What the model said.
        bare: Allow nothing but JSON.

    Raises:
        NoJsonError: If there is none, it is broken, has a key twice, or NaN in it.

    Example:
        >>> read_json('Sure! {"a": 1} Anything else?')
        {'a': 1}
    """
    text = extract(answer, ("whole",))
    if text is None:
        raise NoJsonError("the answer is empty")
    decoder = json.JSONDecoder(object_pairs_hook=_no_repeats, parse_constant=_no_constants)
    candidates = [text] if bare else [text, *filter(None, [extract(text, ("fence",))])]
    first = ""
    for candidate in candidates:
        try:
            return shallow(decoder.decode(candidate))
        except (ValueError, RecursionError) as error:
            first = first or _told(error)
    start = min((place for place in map(text.find, "{[") if place >= 0), default=-1)
    if bare or start < 0:
        raise NoJsonError(f"no valid JSON: {first}")
    try:
        return shallow(decoder.raw_decode(text, start)[0])
    except (ValueError, RecursionError) as error:
        raise NoJsonError(f"no valid JSON: {_told(error)}") from error


def _told(error: Exception) -> str:
    return TOO_DEEP if isinstance(error, RecursionError) else str(error)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constants(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
