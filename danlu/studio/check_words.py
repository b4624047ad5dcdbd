"""What data checks are called, find and advise, in the reader's language.

The checks themselves say it in English; ``languages/checks.zh.yaml`` is keyed by their names, and
by their English sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

from danlu.studio.language import Language
from danlu.studio.phrases import Phrases

COUNTED = "{0} of {1} records: FINDS."
"""How ``danlu.workshop.checks.per_record.judge`` says what records have."""


class CheckWords:
    """The words of checks in one language.

    Example:
        >>> en, zh = CheckWords("en"), CheckWords("zh")
        >>> en.rule("structure.empty_turn"), zh.rule("structure.empty_turn")
        ('empty_turn', '空的发言')
        >>> zh.advice("structure", "2 of 9 records: a turn has no text and calls no tool. "
        ...     "Fill or drop it.")
        '9 条记录中有 2 条：一轮发言没有文字，也没有调用工具。补上内容或删除。'
    """

    def __init__(self, language: Language) -> None:
        self._language = language

    def check(self, name: str) -> str:
        """Return what a check is called."""
        return self._of("checks", name, 0) or name

    def finds(self, name: str) -> str:
        """Say what a check is for; nothing of one that is not known."""
        english = _english()["checks"].get(name, "")
        return self._of("checks", name, 1) or english

    def rule(self, full: str) -> str:
        """Return what a rule is called; ``full`` is ``check.rule``."""
        return self._of("rules", full, 0) or full.partition(".")[2]

    def full(self, full: str) -> str:
        """Return what a rule and its check are called.

        Example:
            >>> CheckWords("en").full("json.schema"), CheckWords("zh").full("json.schema")
            ('json.schema', 'JSON 回答：不符合 Schema')
        """
        if self._language == "en":
            return full
        return f"{self.check(full.partition('.')[0])}：{self.rule(full)}"

    def says(self, full: str) -> str:
        """Say what a rule finds and what to do; nothing of one that is not known."""
        found, remedy = _english()["rules"].get(full, ("", ""))
        if not found:
            return ""
        if self._language == "en":
            return f"{found[:1].upper()}{found[1:]}. {remedy}"
        return f"{self._of('rules', full, 1) or found}。{self._of('rules', full, 2) or remedy}"

    def advice(self, check: str, english: str) -> str:
        """Say what a verdict advises."""
        return english if self._language == "en" else _phrases(self._language, check).say(english)

    def figures(self, check: str, figures: Mapping[str, Any]) -> str:
        """Say what was measured."""
        return ", ".join(
            f"{self._figure(check, name)} {value:.3g}"
            if isinstance(value, float)
            else f"{self._figure(check, name)} {value}"
            for name, value in figures.items()
        )

    def _figure(self, check: str, name: str) -> str:
        if self._language == "en":
            return name
        said = _catalogue(self._language)["figures"].get(name)
        return said or self._of("rules", f"{check}.{name}", 0) or name

    def _of(self, group: str, key: str, place: int) -> str:
        if self._language == "en":
            return ""
        found: list[str] = _catalogue(self._language)[group].get(key, [""] * 3)
        return found[place]


@cache
def _catalogue(language: Language) -> dict[str, Any]:
    path = resources.files("danlu.studio") / "languages" / f"checks.{language}.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(path.read_text("utf-8"), loader)
    return found


@cache
def _english() -> dict[str, dict[str, Any]]:
    from danlu.workshop.checks import CHECKS

    rules = {
        f"{check.name}.{rule.name}": (rule.finds, rule.remedy)
        for check in CHECKS
        for rule in check.rules
    }
    return {"checks": {check.name: check.finds for check in CHECKS}, "rules": rules}


@cache
def _phrases(language: Language, check: str) -> Phrases:
    """Return the sentences that a check may say: those of its rules, and those with figures."""
    known = _catalogue(language)
    templates: dict[str, str] = dict(known["sentences"])
    for full, (finds, remedy) in _english()["rules"].items():
        if full.partition(".")[0] == check and full in known["rules"]:
            _, found, what_to_do = known["rules"][full]
            counted = COUNTED.replace("FINDS", _fixed(finds))
            templates[counted] = known["counted"].replace("FINDS", _fixed(found))
            templates[_fixed(remedy)] = _fixed(what_to_do)
    return Phrases(templates, known["words"])


def _fixed(text: str) -> str:
    """Keep what looks like the place of a value."""
    return text.replace("{", "{{").replace("}", "}}")
