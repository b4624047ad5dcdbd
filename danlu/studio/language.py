"""The words of the pages: one catalogue per language, all with the same keys."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from danlu.studio.phrases import Phrases

Language = Literal["en", "zh"]
_KINDS = (
    ("whole number", "整数"),
    ("number", "数"),
    ("list of ", "列表："),
    ("text", "文本"),
    ("mapping", "映射"),
    ("sources", "来源"),
    (" or ", " 或 "),
    (" and ", " 且 "),
    ("practitioners' reports", "从业者报告"),
    (" usual", " 为常用"),
)
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


@cache
def _settings(language: Language) -> dict[str, str]:
    """Return what settings do, by path; of English nothing, which the recipe itself has."""
    if language == "en":
        return {}
    path = resources.files("danlu.studio") / "languages" / f"settings.{language}.yaml"
    found: dict[str, str] = yaml.safe_load(path.read_text("utf-8"))
    return found


@cache
def _findings(language: Language) -> dict[str, Any]:
    """Return what findings are called and what is done about them; of English nothing.

    The probes say it in English, and an English sentence is the key of its translation.
    """
    if language == "en":
        return {"titles": {}, "remedies": {}}
    path = resources.files("danlu.studio") / "languages" / f"findings.{language}.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


@cache
def _errors(language: Language) -> Phrases:
    """Return the errors that users of the pages meet."""
    found = _error_catalogue(language)
    return Phrases(found["sentences"], found["values"])


@cache
def _error_catalogue(language: Language) -> dict[str, Any]:
    path = resources.files("danlu.studio") / "languages" / f"errors.{language}.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(path.read_text("utf-8"), loader)
    return found


@cache
def _or(language: Language) -> str:
    """Return what stands between what several members of a union had to say."""
    return str(_error_catalogue(language)["or"])


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

    def duration(self, seconds: float | None) -> str:
        """Say a duration as a person would.

        Example:
            >>> [Words("zh").duration(seconds) for seconds in (0.4, 59, 150, 7800)]
            ['不到 1 秒', '59 秒', '2 分 30 秒', '2 小时 10 分']
        """
        words = self
        if seconds is None:
            return "–"
        if seconds < 1:
            return words("time.under")
        minutes, rest = divmod(round(seconds), 60)
        if not minutes:
            return words("time.s", s=rest)
        hours, left = divmod(minutes, 60)
        if hours:
            return words("time.h", h=hours, min=left)
        return words("time.min", min=minutes, s=rest)

    def meaning(self, path: str, english: str) -> str:
        """Say what a setting does; Danlu itself says it in English.

        Args:
            path: The setting's; of a data source ``data.train[0].limit`` or ``data.train[].limit``.
            english: What it is told there.
        """
        plain = re.sub(r"^data\.(train|eval)\[\d*\]", "data.train[]", path)
        return _settings(self.language).get(plain, english)

    def finding(self, name: str) -> tuple[str, str]:
        """Return what a finding is called, and what it means; the probes' own name in English.

        Example:
            >>> Words("zh").finding("duplicates")[0], Words("en").finding("duplicates")
            ('重复记录', ('duplicates', ''))
        """
        title, meaning = _findings(self.language)["titles"].get(name, (name, ""))
        return title, meaning

    def remedy(self, english: str) -> str:
        """Say what to do; what has figures in it stays English.

        Example:
            >>> Words("zh").remedy("Remove the copies.")
            '去掉副本。'
        """
        said: str = _findings(self.language)["remedies"].get(english, english)
        return said

    def error(self, english: str) -> str:
        """Say an error, line by line; places before it, and what is not known, stay as they are.

        Example:
            >>> Words("zh").error("form: name: is missing and has no default.")
            'form: name: 没有填写，也没有默认值。'
        """
        if self.language == "en" or not english:
            return english
        return "\n".join(map(self._error, english.split("\n")))

    def _error(self, line: str) -> str:
        known = _errors(self.language)
        parts = line.split(": ")
        for begin in range(len(parts)):
            ways = ": ".join(parts[begin:]).split(" Or: ")
            said = [known.sentences(one) or known.one(one) for one in ways]
            if any(said):
                place = "".join(f"{one}: " for one in parts[:begin])
                pairs = zip(said, ways, strict=True)
                return place + _or(self.language).join(one or way for one, way in pairs)
        return line

    def kind(self, english: str) -> str:
        """Say what a setting takes: ``number > 0 or null``.

        Example:
            >>> Words("zh").kind("whole number > 0 or null"), Words("zh").kind("list of text")
            ('整数 > 0 或 null', '列表：文本')
        """
        if self.language == "en":
            return english
        for one, other in _KINDS:
            english = english.replace(one, other)
        return english

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
