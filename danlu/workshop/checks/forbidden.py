r"""Forbidden patterns: phrases that no answer should hold, shipped ones and a user's own.

A file of patterns has one a line, a name and a regular expression of Python, with ``:`` between::

    # what our assistant must never say
    competitor: \b(?:Acme|Emca)\b
    price: 保证(?:最低|收益)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from danlu.errors import DanluError
from danlu.records.text_files import text_lines
from danlu.workshop.checks.check import Rule, Running, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord, shown
from danlu.workshop.checks.view import View

_NAME = re.compile(r"[\w-]+")
# Of text in small letters.
_DISCLAIMER = re.compile(
    r"\bas an? (?:ai|artificial intelligence)(?: language)?(?: model| assistant)?\b|"
    r"\bi(?: a|['’])m (?:just |only )?an ai\b|"
    r"作为(?:一[个名款])?(?:ai|人工智能)(?:语言)?(?:模型|助手)|我(?:只)?是一个(?:ai|人工智能)(?:语言)?(?:模型|助手)"
)
_NAMES = (
    "openai", "gpt", "anthropic", "claude", "gemini", "google", "bard", "meta ai", "llama", "qwen",
    "alibaba", "deepseek", "baidu", "ernie", "kimi", "moonshot", "通义", "阿里云", "文心", "百度",
    "豆包", "字节", "混元", "智谱", "讯飞", "深度求索", "月之暗面",
)  # fmt: skip
_OTHERS_NAME = re.compile(
    r"\b(?:i am|i['’]m|my name is) "
    r"(?:chatgpt|claude|gemini|bard|llama|qwen|deepseek|ernie|kimi|gpt-?\d)\b|"
    r"\b(?:developed|created|trained|made) by (?:openai|anthropic|google|meta ai|alibaba cloud|"
    r"deepseek|baidu|moonshot)\b|"
    r"我(?:是|叫)(?:chatgpt|通义千问|文心一言|豆包|混元|智谱清言|讯飞星火|kimi|deepseek)|"
    r"由(?:openai|阿里云|百度|智谱|深度求索|月之暗面|字节跳动)[^，。\n]{0,8}(?:开发|训练|研发)"
)
_PLACEHOLDER = re.compile(
    r"\{\{\s*\w+\s*\}\}|lorem ipsum|<(?:NAME|AUTHOR|INSERT[^>\n]{0,30})>|\bINSERT \w+ HERE\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Finds forbidden patterns in answers.

    Raises:
        DanluError: When started, if the file cannot be read or a line is no pattern.
    """

    name: ClassVar[str] = "forbidden"
    finds: ClassVar[str] = "placeholders, another model's name, disclaimers, your own patterns"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "placeholder",
            "fault",
            "a placeholder of the data's author was not filled in",
            "Fill it in: the model would say it as it stands.",
        ),
        Rule(
            "others_name",
            "attention",
            "the answer says to be another model, or made by another firm",
            "Write your assistant's name, or drop the record.",
        ),
        Rule(
            "disclaimer",
            "attention",
            "the answer says that it is an AI, where data made by a model often say it",
            "Cut the phrase, or drop the record; a few are fit.",
            tolerated=0.02,
        ),
        Rule(
            "pattern",
            "fault",
            "one of your patterns matches an answer",
            "See the finding's value for which.",
            limit="file",
        ),
    )

    file: str = setting("", "File of patterns, one 'name: expression' a line; none if empty.")

    def start(self, context: Context) -> Running:
        """Begin: read the patterns."""
        own = read_patterns(Path(self.file)) if self.file else []
        return PerRecord(self, partial(_look, own))


def read_patterns(path: Path) -> list[tuple[str, re.Pattern[str]]]:
    """Read a file of patterns.

    Raises:
        DanluError: If it cannot be read, or a line is no pattern.
    """
    try:
        lines = text_lines(path)
    except (OSError, UnicodeError) as error:
        raise DanluError(f"the patterns cannot be read: {error}.", where=str(path)) from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, expression = line.partition(":")
        where = f"{path}:{number}"
        if not colon or not _NAME.fullmatch(name.strip()) or not expression.strip():
            raise DanluError("is no pattern; write 'name: expression'.", where=where)
        try:
            found.append((name.strip(), re.compile(expression.strip())))
        except re.error as error:
            raise DanluError(f"is no regular expression: {error}.", where=where) from error
    return found


def _look(own: Sequence[tuple[str, re.Pattern[str]]], view: View) -> Iterator[Hit]:
    for turn in view.turns:
        text = turn.answer
        place = view.name_of(turn.index)
        if (
            ("{{" in text and "{{" not in turn.prompt and "```" not in text)
            or "<" in text
            or ("orem ipsum" in text or "INSERT" in text)
        ):
            found = _PLACEHOLDER.search(text)
            if found and found[0].lower() not in turn.prompt.lower() and "```" not in text:
                yield _hit("placeholder", text, found, place)
        # Both are said in an answer's beginning, if at all.
        head = text[:400].lower()
        if ("ai" in head or "人工智能" in head or "artif" in head) and (
            found := _DISCLAIMER.search(head)
        ):
            yield _hit("disclaimer", text, found, place)
        if any(map(head.__contains__, _NAMES)) and (found := _OTHERS_NAME.search(head)):
            yield _hit("others_name", text, found, place)
        matching = [(name, found) for name, one in own if (found := one.search(text))]
        if matching:
            names = ", ".join(name for name, _ in matching)
            yield _hit("pattern", text, matching[0][1], place)._replace(value=names)


def _hit(rule: str, text: str, found: re.Match[str], place: str) -> Hit:
    return Hit(rule, found[0][:60], detail=f"{place}: {shown(text, *found.span())}")
