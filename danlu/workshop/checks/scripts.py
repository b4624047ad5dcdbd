"""Which scripts a text is written in, and in which language that may be, as far as that tells.

By script alone: Chinese, Japanese, Korean, Russian are told apart, English and French are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Script = Literal["latin", "han", "kana", "hangul", "cyrillic", "arabic", "thai", "other"]

_RUNS: Mapping[str, re.Pattern[str]] = {
    "han": re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+"),
    "kana": re.compile("[\u3041-\u3096\u30a1-\u30fa]+"),
    "hangul": re.compile("[\uac00-\ud7a3]+"),
    "cyrillic": re.compile("[\u0400-\u04ff]+"),
    "arabic": re.compile("[\u0620-\u064a]+"),
    "thai": re.compile("[\u0e01-\u0e4e]+"),
}
_WORD = re.compile("[A-Za-z\u00c0-\u024f]{2,}")
_ANY_RARE = re.compile(
    "[\u3041-\u3096\u30a1-\u30fa\uac00-\ud7a3\u0400-\u04ff\u0620-\u064a\u0e01-\u0e4e]"
)
NAMES = {
    "latin": "a language in Latin letters",
    "han": "Chinese",
    "kana": "Japanese",
    "hangul": "Korean",
    "cyrillic": "a language in Cyrillic letters",
    "arabic": "a language in Arabic letters",
    "thai": "Thai",
}


def count_scripts(text: str) -> dict[str, int]:
    """Count characters by script; of Latin words, which are longer, each counts as two.

    Example:
        >>> count_scripts("用 Python 写")
        {'han': 2, 'latin': 2}
    """
    if text.isascii():
        return {"latin": 2 * len(_WORD.findall(text))}
    counts = {}
    scripts = tuple(_RUNS) if _ANY_RARE.search(text) else ("han",)
    for script in scripts:
        if found := sum(map(len, _RUNS[script].findall(text))):
            counts[script] = found
    if words := len(_WORD.findall(text)):
        counts["latin"] = 2 * words
    return counts


def main_script(counts: Mapping[str, int], least: int = 4) -> str | None:
    """Return the script that a text is chiefly in; None if that cannot be told.

    Kana makes a text Japanese, whatever it has of Chinese characters.

    Args:
        counts: From ``count_scripts``.
        least: So many characters are needed.

    Example:
        >>> main_script({"han": 40, "latin": 8}), main_script({"han": 9, "kana": 8})
        ('han', 'kana')
        >>> main_script({"latin": 2}) is None
        True
    """
    total = sum(counts.values())
    if total < least:
        return None
    if 4 * counts.get("kana", 0) > counts.get("han", 0):
        return "kana" if counts.get("kana", 0) * 5 > total else None
    script, most = max(counts.items(), key=lambda pair: pair[1])
    return script if 5 * most >= 3 * total else None
