"""Reading a judge's reply: its explanation, and the score or verdict on its last line.

Only the last line counts, and only if it is nothing but the score: a reply that quotes an answer's
"Score: 10" on the way is not fooled, and one that ends otherwise is unreadable rather than guessed.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Generic, Literal, NamedTuple, TypeVar

LOWEST, HIGHEST = 1, 10
"""The scale of every dimension."""

Choice = Literal["first", "second", "tie"]

T = TypeVar("T")

_SCORE = re.compile(
    r"(?:the |final |overall )*(?:score|rating|评分|得分|分数|打分)\s*(?:is|为|是)?\s*[:=]?\s*"
    r"(\d{1,2}(?:\.\d{1,2})?)\s*(?:/\s*10|分)?",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    r"(?:the |final )*(?:verdict|better answer|winner|结论|判定|更好的回答)\s*(?:is|为|是)?\s*[:=]?"
    r"\s*(?:answer\s*|回答\s*)?(1|2|a tie|tie|neither|both|equal|平局?|一样好?|不分上下)",
    re.IGNORECASE,
)
_DECORATION = " \t*_`#>.。!！()[]{}\"'“”【】"


class Read(NamedTuple, Generic[T]):
    """What was read out of a reply.

    Attributes:
        value: The score or the verdict.
        why: The explanation before it.
    """

    value: T
    why: str


def read_score(reply: str) -> Read[float] | None:
    r"""Read the score on the last line, from 1 to 10; None if there is none.

    Example:
        >>> read_score("It is right, but wordy.\nScore: 7")
        Read(value=7.0, why='It is right, but wordy.')
        >>> read_score("内容准确。\n**评分：８分**").value
        8.0
        >>> read_score("Score: 7 or 8"), read_score("Score: 11"), read_score("A fine answer.")
        (None, None, None)
    """
    why, line = _last_line(reply)
    found = _SCORE.fullmatch(line)
    if not found or not LOWEST <= float(found[1]) <= HIGHEST:
        return None
    return Read(float(found[1]), why)


def read_verdict(reply: str) -> Read[Choice] | None:
    r"""Read which of two answers is better, on the last line; None if it does not say.

    Example:
        >>> read_verdict("The first has an error.\nVerdict: 2")
        Read(value='second', why='The first has an error.')
        >>> read_verdict("两个都对。\n结论：平").value, read_verdict("Verdict: 1 or 2")
        ('tie', None)
    """
    why, line = _last_line(reply)
    found = _VERDICT.fullmatch(line)
    if not found:
        return None
    choices: dict[str, Choice] = {"1": "first", "2": "second"}
    return Read(choices.get(found[1], "tie"), why)


def _last_line(reply: str) -> tuple[str, str]:
    """Return what stands before the last line, and the last line without its decoration."""
    lines = [line for line in reply.strip().splitlines() if line.strip(_DECORATION)]
    if not lines:
        return "", ""
    last = unicodedata.normalize("NFKC", lines[-1]).replace("**", "").strip(_DECORATION)
    return "\n".join(lines[:-1]).strip(), last
