"""The words of the pages: one catalogue per language, all with the same keys."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

Language = Literal["en", "zh"]
LANGUAGES: dict[Language, tuple[str, str]] = {"en": ("en", "English"), "zh": ("zh-Hans", "中文")}
"""By code: the tag of the page, and the language's own name."""


@cache
def catalogue(language: Language) -> dict[str, str]:
    """Return all words of a language by key: ``runs.title``.

    Example:
        >>> catalogue("zh")["page.runs"]
        '训练'
    """
    text = (resources.files("danlu.studio") / "languages" / f"{language}.yaml").read_text("utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    words: dict[str, str] = {}
    _flatten(yaml.load(text, loader), "", words)
    return words


def _flatten(tree: dict[str, Any], prefix: str, words: dict[str, str]) -> None:
    for name, value in tree.items():
        if isinstance(value, dict):
            _flatten(value, f"{prefix}{name}.", words)
        else:
            words[prefix + str(name)] = str(value)


class Words:
    """The words of one language; called with a key and what fills its braces.

    Example:
        >>> Words("en")("frame.language")
        'Language'
    """

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, key: str, **values: Any) -> str:
        """Return the words for a key.

        Raises:
            KeyError: If no catalogue has it.
        """
        text = catalogue(self.language)[key]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        """Whether there are words for a key."""
        return key in catalogue(self.language)

    def under(self, prefix: str) -> dict[str, str]:
        """Return the words whose keys begin so, without that beginning."""
        words = catalogue(self.language)
        return {key[len(prefix) :]: text for key, text in words.items() if key.startswith(prefix)}


def preferred(accept: str) -> Language:
    """Choose a language by a browser's ``Accept-Language``.

    Example:
        >>> preferred("zh-CN,zh;q=0.9,en;q=0.8"), preferred("de"), preferred("en, zh;q=0.5")
        ('zh', 'en', 'en')
    """
    best: tuple[float, Language] = (0.0, "en")
    for part in accept.lower().split(","):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        code = tag.split("-")[0]
        if code in LANGUAGES and weight > best[0]:
            best = (weight, "zh" if code == "zh" else "en")
    return best[1]
