"""Limits of an objective's settings, each checked in one place with one wording."""

from __future__ import annotations

import math
from collections.abc import Iterable

from danlu.errors import RecipeError, did_you_mean


def check_number(
    name: str,
    value: float,
    remedy: str,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> None:
    """Refuse a setting outside its limits, or one that is no finite number.

    Args:
        name: The setting, as the recipe names it below ``objective``.
        value: What was given.
        remedy: What to do instead, one sentence.
        above: It must be greater than this.
        least: It must be this or greater.
        below: It must be less than this.
        most: It must be this or less.

    Raises:
        RecipeError: If it breaks a limit.

    Example:
        >>> check_number("beta", 0.0, "0.1 is usual.", above=0)
        Traceback (most recent call last):
        danlu.errors.RecipeError: objective.beta: is 0.0; it must be above 0. 0.1 is usual.
    """
    limits = {
        "above": (above, above is None or value > above),
        "at least": (least, least is None or value >= least),
        "below": (below, below is None or value < below),
        "at most": (most, most is None or value <= most),
    }
    if math.isfinite(value) and all(kept for _, kept in limits.values()):
        return
    words = [f"{word} {limit:g}" for word, (limit, _) in limits.items() if limit is not None]
    allowed = " and ".join(words) if words else "a finite number"
    raise RecipeError(f"is {value}; it must be {allowed}. {remedy}", where=f"objective.{name}")


def check_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a name that is none of ``allowed``.

    Raises:
        RecipeError: If it is unknown; it names the nearest one.

    Example:
        >>> check_choice("loss", "sigmod", ["sigmoid", "ipo"])
        Traceback (most recent call last):
        danlu.errors.RecipeError: objective.loss: 'sigmod' is unknown. Did you mean 'sigmoid'?
    """
    names = list(allowed)
    if value not in names:
        raise RecipeError(
            f"{value!r} is unknown.{did_you_mean(value, names)}", where=f"objective.{name}"
        )
