"""JSON that others wrote: a model, or the data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

MOST_LEVELS = 100
"""What goes through a value goes down a level at a time, and Python ends at some hundreds."""

TOO_DEEP = f"nested more than {MOST_LEVELS} levels deep"


def loads(text: str, **options: Any) -> Any:
    """Decode JSON as ``json.loads`` does; whatever is wrong with it is one kind of error.

    A model that repeats itself opens brackets without end, or writes a number of thousands of
    digits, which Python refuses by errors of their own.

    Args:
        text: JSON.
        options: As those of ``json.loads``.

    Raises:
        json.JSONDecodeError: If it is not JSON, or goes beyond what anyone can mean.

    Example:
        >>> loads("[" * 100_000)
        Traceback (most recent call last):
        json.decoder.JSONDecodeError: nested more than 100 levels deep: line 1 column 1 (char 0)
    """
    try:
        return shallow(json.loads(text, **options))
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise json.JSONDecodeError(TOO_DEEP, text, 0) from error
    except ValueError as error:
        raise json.JSONDecodeError(str(error), text, 0) from error


def shallow(value: Any) -> Any:
    """Return a value that others can go through.

    Raises:
        ValueError: If it is nested too deeply.
    """
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return value
    raise ValueError(TOO_DEEP)


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
