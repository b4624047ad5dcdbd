"""Texts that are nearly the same, put into groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from danlu.errors import DanluError
from danlu.workshop.likeness.greedy import groups
from danlu.workshop.likeness.overlap import Int64
from danlu.workshop.likeness.shingles import near_texts
from danlu.workshop.likeness.text import fold


def near_groups(
    texts: Sequence[str], threshold: float, progress: Callable[[int], None] = lambda done: None
) -> Int64:
    """Number texts so that near-duplicates, directly or by way of others, have one number.

    What must not be torn apart (by a split into training and evaluation, say) has one number.
    Texts are folded, and compared as in ``shingles``.

    Args:
        texts: As they are.
        threshold: Least Jaccard similarity of near-duplicates; above 0, at most 1.
        progress: Told how many of the different texts are done.

    Returns:
        ``(R,)`` int64: for each text the place of the first one of its group.

    Raises:
        DanluError: If the threshold is out of range.

    Example:
        >>> near_groups(["Name a colour.", "是", "name a COLOUR", "否", "是"], 0.8).tolist()
        [0, 1, 0, 3, 1]
    """
    check_limit(threshold)
    first: dict[str, int] = {}
    place = [first.setdefault(fold(text), number) for number, text in enumerate(texts)]
    unlike = list(first)
    group = groups(len(unlike), near_texts(unlike, threshold), progress)
    begins = np.fromiter(first.values(), np.int64, len(first))
    group_of_first = np.zeros(len(texts), np.int64)
    group_of_first[begins] = begins[group]
    found: Int64 = group_of_first[np.array(place, np.int64)]
    return found


def check_limit(limit: float) -> None:
    """Refuse a Jaccard similarity that is none.

    Raises:
        DanluError: If it is not above 0 and at most 1.
    """
    if not 0 < limit <= 1:
        raise DanluError(f"the Jaccard limit is {limit:g}; it must be above 0 and at most 1.")
