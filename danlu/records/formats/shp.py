"""SHP: a post, two comments, and how many readers liked each.

The columns of Stanford Human Preferences (Ethayarajh et al. 2022, arXiv:2110.08420). A pair says
the more the further its scores lie apart; both are kept, and ``score_ratio`` stays in ``meta``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.danlu import read_score
from danlu.records.formats.format import Format, Parts, read_verdict, take_text
from danlu.records.record import Message, Response


def recognise(row: Mapping[str, Any]) -> bool:
    """The two comments under their own names."""
    return "human_ref_A" in row and "human_ref_B" in row


def parse(row: dict[str, Any]) -> Parts:
    """Take the post and its two comments, the better one first.

    Raises:
        RecordError: If one of them is missing, or ``labels`` prefers the lower score.
    """
    post = take_text(row, "history")
    texts = take_text(row, "human_ref_A"), take_text(row, "human_ref_B")
    scores = [read_score(_number(row.pop(f"score_{side}", None)), side) for side in "AB"]
    given = row.pop("labels", None)
    prefers_a = read_verdict(given)
    if prefers_a is None:
        raise RecordError(f"'labels' is {given!r}; it must be 1 (A is better) or 0 (B is).")
    better, worse = (0, 1) if prefers_a else (1, 0)
    high, low = scores[better], scores[worse]
    if high is not None and low is not None and high < low:
        raise RecordError(
            f"'labels' prefers {'AB'[better]}, whose score is lower ({high:g} against {low:g}). "
            "Correct one of them, or take the scores out."
        )
    responses = (Response(texts[better], 1, high), Response(texts[worse], 2, low))
    return Parts((Message("user", post),), responses=responses)


def _number(value: Any) -> Any:
    """Return a number that a table holds as text, None for an empty cell, all else as it is."""
    if value == "":
        return None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


SHP = Format(
    name="shp",
    summary="A post with two comments and their scores, as in Stanford Human Preferences.",
    columns={
        "history": "The post.",
        "human_ref_A": "A comment.",
        "human_ref_B": "Another comment.",
        "labels": "1 if A is the better one, 0 if B is.",
        "score_A": "How many readers liked A.",
        "score_B": "How many readers liked B.",
    },
    sample={
        "history": "My sourdough never rises. What am I doing wrong?",
        "human_ref_A": "Buy bread.",
        "human_ref_B": "Is your kitchen cold? Give the dough a few hours more.",
        "labels": 0,
        "score_A": 2,
        "score_B": 31,
    },
    recognise=recognise,
    parse=parse,
)
