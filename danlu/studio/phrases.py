"""Sentences that Danlu says with figures in them, said in another language by templates.

An English template has ``{0}``, ``{1}`` … where the code puts values; its translation has the same
in its own order. What no template fits stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter

_FIRST = "(?!\\S+: )"
_ENDS = re.compile(r"[.!?](?= |$)")


class Phrases:
    """Templates with their translations.

    Args:
        sentences: Translations, by English templates.
        values: Likewise, of what stands in the place of a value.

    Example:
        >>> said = {"{0} of {1} {2}.": "{1} 个里有 {0} 个{2}。", "Stop.": "停下。"}
        >>> own = Phrases(said, {"fail": "失败"})
        >>> own.say("3 of 4 fail. Stop."), own.say("3 of 4 fail? Stop!")
        ('4 个里有 3 个失败。停下。', '3 of 4 fail? Stop!')
    """

    def __init__(
        self, sentences: Mapping[str, str], values: Mapping[str, str] | None = None
    ) -> None:
        self._sentences = _patterns(sentences)
        self._values = _patterns(values or {})

    def say(self, text: str) -> str:
        """Translate sentences that follow each other; return the text if one is not known."""
        return self.sentences(text) or text

    def one(self, text: str) -> str | None:
        """Translate a text that is one sentence; None if it is none that is known."""
        return self._whole(text, self._sentences)

    def sentences(self, text: str) -> str | None:
        """Translate sentences that follow each other; None if one is not known."""
        for end in _ENDS.finditer(text):
            first = self.one(text[: end.end()])
            if first is None:
                continue
            rest = text[end.end() :].lstrip(" ")
            more = self.sentences(rest) if rest else ""
            if more is not None:
                return first + more
        return None

    def _whole(self, text: str, patterns: list[tuple[re.Pattern[str], str]]) -> str | None:
        for pattern, said in patterns:
            if found := pattern.fullmatch(text):
                return self._filled(said, found)
        return None

    def _filled(self, said: str, found: re.Match[str]) -> str:
        values = [value and (self._whole(value, self._values) or value) for value in found.groups()]
        return said.format(*values)


def _patterns(templates: Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    """Make patterns; what is fixed in most of its letters goes first, for it says most."""
    by_letters = sorted(templates, key=lambda one: -len(re.sub(r"\{\d\}", "", one)))
    return [(re.compile(_pattern(one), re.DOTALL), templates[one]) for one in by_letters]


def _pattern(template: str) -> str:
    parts = [
        re.escape(literal) + ("" if field is None else "(.*?)")
        for literal, field, _, _ in Formatter().parse(template)
    ]
    # A place before the sentence is no value of it.
    return "".join(parts) if not parts[0].startswith("(") else "".join([_FIRST, *parts])
