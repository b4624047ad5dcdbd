"""Branches longer than allowed: dropped, cut, or refused; never in silence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.config.recipe import SequencesSection

Int64 = NDArray[np.int64]

OVERLONG = "overlong"
PROMPT_CUT = "prompt truncated"
COMPLETION_CUT = "completion truncated"


class Fit(NamedTuple):
    """What happens to each branch, so that none is too long.

    Attributes:
        keep: bool ``(B,)``: False for a branch that is left out.
        from_prompt: int64 ``(B,)``: tokens taken from the beginning of its prompt.
        from_completion: int64 ``(B,)``: tokens taken from the end of its completion.
    """

    keep: NDArray[np.bool_]
    from_prompt: Int64
    from_completion: Int64


def fit_lengths(prompt: Int64, completion: Int64, settings: SequencesSection) -> Fit:
    """Decide how branches are made to fit ``max_length``.

    ``truncate_prompt_left`` never cuts the completion and leaves at least one token of the prompt
    to predict it from; ``truncate_completion`` never cuts the prompt and leaves at least one token
    of the completion. A branch that cannot be cut so is left out.

    Args:
        prompt: ``(B,)``: tokens of each branch's prompt.
        completion: ``(B,)``: tokens of each branch's completion.
        settings: ``max_length`` and ``overlong``; ``error`` is treated as ``drop``.

    Example:
        >>> short = SequencesSection(max_length=4, overlong="truncate_prompt_left")
        >>> fit = fit_lengths(np.array([3, 9, 1]), np.array([1, 2, 4]), short)
        >>> fit.keep.tolist(), fit.from_prompt.tolist()
        ([True, True, False], [0, 7, 0])
    """
    excess = np.maximum(prompt + completion - settings.max_length, 0)
    none = np.zeros_like(excess)
    if settings.overlong == "truncate_prompt_left":
        keep = (excess == 0) | (completion < settings.max_length)
        return Fit(keep, np.where(keep, excess, 0), none)
    if settings.overlong == "truncate_completion":
        keep = (excess == 0) | (prompt < settings.max_length)
        return Fit(keep, none, np.where(keep, excess, 0))
    return Fit(excess == 0, none, none)


def same_prompts(fit: Fit, record: Int64) -> Fit:
    """Cut as much from all prompts of a record as from the one that loses most.

    Answers that are compared must answer the same prompt.

    Args:
        fit: From ``fit_lengths``.
        record: ``(B,)``: the record of each branch, not falling.

    Example:
        >>> fit = Fit(np.array([True, True]), np.array([0, 7]), np.array([0, 0]))
        >>> same_prompts(fit, np.array([3, 3])).from_prompt.tolist()
        [7, 7]
    """
    if not fit.from_prompt.any():
        return fit
    first = np.flatnonzero(np.diff(record, prepend=-1))
    most = np.maximum.reduceat(fit.from_prompt, first)
    per_record = np.diff(np.append(first, len(record)))
    return fit._replace(from_prompt=np.where(fit.keep, np.repeat(most, per_record), 0))


def describe_fit(
    keep: bool, prompt: int, completion: int, settings: SequencesSection
) -> tuple[str, str]:
    """Return the reason and the detail for a branch that did not fit.

    Example:
        >>> describe_fit(False, 9, 2, SequencesSection(max_length=4))
        ('overlong', '11 tokens (prompt 9, completion 2); max_length is 4')
    """
    detail = (
        f"{prompt + completion:,} tokens (prompt {prompt:,}, completion {completion:,}); "
        f"max_length is {settings.max_length:,}"
    )
    if not keep:
        return OVERLONG, detail
    cut = PROMPT_CUT if settings.overlong == "truncate_prompt_left" else COMPLETION_CUT
    return cut, detail
