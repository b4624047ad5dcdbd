"""Half-width and full-width punctuation: mixed in one text, or wrong for its language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from danlu.workshop.checks.check import Rule, Running, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord, shown
from danlu.workshop.checks.view import View

# A half-width mark right between two Chinese characters, or after one at a line's end; a colon or
# a bracket is common there and tells nothing.
_HALF = re.compile(r"(?<=[\u4e00-\u9fff])[,;?!](?=\s?[\u4e00-\u9fff]|\n|$)")
_FULL = re.compile("[，；？！]")
_HAN_OR_KANA = re.compile("[\u3041-\u30fa\u4e00-\u9fff]")
_FULL_IN_LATIN = re.compile(r"(?<=[A-Za-z])[，。；？！：](?=\s|[A-Za-z]|$)")
_FULL_LETTER = re.compile("[Ａ-Ｚａ-ｚ０-９]{2,}")


@dataclass(frozen=True, slots=True)
class Punctuation:
    """Checks the punctuation of answers and prompts in Chinese and English."""

    name: ClassVar[str] = "punctuation"
    finds: ClassVar[str] = "half-width and full-width punctuation mixed"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "mixed_width",
            "attention",
            "half-width and full-width marks stand between Chinese characters of one answer",
            "Write full-width marks between Chinese characters.",
            tolerated=0.05,
            limit="least_marks",
        ),
        Rule(
            "half_width",
            "attention",
            "a Chinese answer has only half-width marks",
            "Write full-width marks between Chinese characters.",
            tolerated=0.05,
            limit="least_marks",
        ),
        Rule(
            "full_width_in_latin",
            "attention",
            "full-width marks or letters stand in an answer without any Chinese",
            "Write half-width marks and letters.",
            tolerated=0.02,
        ),
    )

    least_marks: int = setting(2, "So many half-width marks between Chinese characters are found.")

    def start(self, context: Context) -> Running:
        """Begin."""
        least = self.least_marks
        return PerRecord(self, lambda view: _look(view, least))


def _look(view: View, least: int) -> Iterator[Hit]:
    for turn in view.turns:
        text = turn.answer
        if text.isascii() or "```" in text:
            continue
        place = view.name_of(turn.index)
        if _HAN_OR_KANA.search(text):
            half = [*_HALF.finditer(text)]
            if len(half) >= least:
                rule = "mixed_width" if _FULL.search(text) else "half_width"
                yield Hit(rule, len(half), least, f"{place}: {shown(text, *half[0].span())}")
        elif found := _FULL_IN_LATIN.search(text) or _FULL_LETTER.search(text):
            yield Hit("full_width_in_latin", found[0], "", f"{place}: {shown(text, *found.span())}")
