"""Limits of an objective's settings and the precision of its inputs, each with one wording."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

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
    if not math.isfinite(value):
        words.insert(0, "finite")
    raise RecipeError(
        f"is {value}; it must be {' and '.join(words)}. {remedy}", where=f"objective.{name}"
    )


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


def check_precision(**logprobs: Tensor | None) -> None:
    """Refuse log-probabilities whose rounding is larger than what there is to learn.

    Neighbours of 500 in bfloat16 are 2 apart, and a ratio to the reference is a fraction of that.

    Args:
        logprobs: Tensors by their names; None is passed over.

    Raises:
        ValueError: If one is neither float32 nor float64.

    Example:
        >>> check_precision(policy_T=torch.zeros(1, dtype=torch.bfloat16))
        Traceback (most recent call last):
        ValueError: policy_T is torch.bfloat16; log-probabilities must be float32 or float64. ...
    """
    for name, values in logprobs.items():
        if values is not None and values.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"{name} is {values.dtype}; log-probabilities must be float32 or float64. "
                "Take the log-softmax of float32 logits, and keep its sums in float32."
            )


def widened(values: Tensor) -> Tensor:
    """Return ``values`` in float32, or as they are where that is float64; differentiable.

    Scores and logits of a half-precision model keep their own rounding, but add no more.

    Example:
        >>> widened(torch.tensor([1, 0]))
        tensor([1., 0.])
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
