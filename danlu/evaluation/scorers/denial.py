"""Whether a text denies what it mentions: "not B", "不是 B"."""

from __future__ import annotations

import re

_BEFORE = re.compile(
    r"(?:\b(?:not|isn't|isn’t|never|neither|nor|except|rule out|rules out|eliminate|exclude)"
    r"(?:\s+(?:be|option|choice|answer|a|the|is))*"
    r"|(?:不是|并非|不选|不应选|不能选|非|排除(?:了)?|除了)(?:选项|答案)?)[\s(（\"“'*]*$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"^[)）\"”'*]*\s*(?:is|are)\s+(?:wrong|incorrect|false|not)\b"
    r"|^[)）\"”'*]*\s*(?:项)?\s*(?:不对|不正确|错误|是错|不符合|错了|有误|可以排除|不是)",
    re.IGNORECASE,
)

REACH = 200
"""Characters before and after that are looked at: a denial stands right there."""


def denied(text: str, start: int, end: int) -> bool:
    """Tell whether what stands from ``start`` to ``end`` is denied right before or after it.

    Example:
        >>> denied("It is not B.", 10, 11), denied("选B项不对", 1, 2), denied("It is B.", 6, 7)
        (True, True, False)
    """
    before, after = text[max(0, start - REACH) : start], text[end : end + REACH]
    return bool(_BEFORE.search(before) or _AFTER.search(after))
