"""Named rules that find the answer proper in what a model says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from danlu.errors import EvaluationError, did_you_mean

_THINK = re.compile(r"<think>.*?</think>", re.DOTALL)
_ANSWER_IS = re.compile(
    r"(?:答案(?:应该|应当)?(?:是|为|[:：])|\banswer\s*(?:\*\*)?\s*(?:is|[:：]))"
    r"\s*[:：]?\s*(.+?)(?=[。！？；\n]|[.!?;](?:\s|\**\s*$)|$)",
    re.IGNORECASE,
)
_HASHES = re.compile(r"####\s*(.+)")
_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_WRAPPING = " \t\r\n*_`$\"'“”‘’"


def _whole(text: str) -> str | None:
    return text.strip() or None


def _boxed(text: str) -> str | None:
    r"""Take the last \boxed{...}, braces balanced."""
    start = max(text.rfind(r"\boxed{"), text.rfind(r"\fbox{"))
    if start < 0:
        return None
    begin = text.index("{", start) + 1
    depth = 1
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[begin:place].strip() or None
    return None


def _answer_is(text: str) -> str | None:
    found = _ANSWER_IS.findall(text)
    return found[-1].strip(_WRAPPING) or None if found else None


def _hashes(text: str) -> str | None:
    found = _HASHES.findall(text)
    return found[-1].strip() or None if found else None


def _first_line(text: str) -> str | None:
    return next((line.strip() for line in text.splitlines() if line.strip()), None)


def _last_line(text: str) -> str | None:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), None)


def _fence(text: str) -> str | None:
    found = _FENCE.findall(text)
    return found[-1].strip() or None if found else None


RULES: Mapping[str, Callable[[str], str | None]] = {
    "whole": _whole,
    "boxed": _boxed,
    "answer_is": _answer_is,
    "hashes": _hashes,
    "first_line": _first_line,
    "last_line": _last_line,
    "fence": _fence,
}
r"""What each takes:

- ``whole``: all of it.
- ``boxed``: what stands in the last ``\boxed{}``.
- ``answer_is``: what follows the last "答案是", "答案：", "the answer is", "Answer:", up to the end
  of the sentence or line.
- ``hashes``: what follows the last ``####``, as in GSM8K.
- ``first_line``, ``last_line``: of those that are not empty.
- ``fence``: what stands in the last block between ``` marks.
"""


def check_rules(names: Sequence[str]) -> None:
    """Check that there is a rule, and that all names are rules.

    Raises:
        EvaluationError: If not.
    """
    if not names:
        raise EvaluationError(f"no rule is named. Allowed: {', '.join(RULES)}.", where="extract")
    for name in names:
        if name not in RULES:
            raise EvaluationError(f"no such rule.{did_you_mean(name, RULES)}", where=name)


def extract(text: str, names: Sequence[str]) -> str | None:
    r"""Return what the first rule that finds something takes; None if none does.

    A trace of reasoning (``<think>``) is left out first; one that never ends leaves nothing.

    Example:
        >>> extract("So x is 3. The answer is 3.5. Good luck!", ("boxed", "answer_is"))
        '3.5'
        >>> extract(r"<think>4?</think> It is \boxed{\frac{1}{2}}.", ("boxed",))
        '\\frac{1}{2}'
        >>> extract("<think>It might be 4", ("whole",)) is None
        True
    """
    if "</think>" in text:
        text = _THINK.sub("", text)
    if "<think>" in text:
        return None
    text = text.rpartition("</think>")[2]  # templates that open the trace in the prompt
    return next((found for name in names if (found := RULES[name](text))), None)
