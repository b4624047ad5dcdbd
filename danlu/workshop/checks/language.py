"""Language mix: records in another language than their task's, answers in another than asked."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from danlu.workshop.checks.check import (
    MIN_RECORDS,
    Finding,
    Report,
    Rule,
    Running,
    Verdict,
    setting,
)
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, Tally, first_hits, shown
from danlu.workshop.checks.scripts import NAMES, count_scripts, main_script
from danlu.workshop.checks.view import Head, Turn, View

_OTHER_LANGUAGE_ASKED = re.compile(
    r"translat|language|english|chinese|french|spanish|german|italian|latin|japanese|korean|russian|"
    r"mandarin|cantonese|arabic|hindi|portuguese|pinyin|bilingual|code|program|sql|html|python|"
    r"翻译|译[成为]|译文|英[文语汉译]|中[文英译]|汉[语英译]|语言|[日法德俄韩泰]语|[日法德俄韩泰]文|西班牙|意大利|葡萄牙|阿拉伯|"
    r"拉丁|外语|双语|拼音|单词|词汇|句子|代码|编[写程]|程序|函数|算法|公式|方程|缩写|首字母|标题|化学式|命令|查询|"
    r"正则|脚本|变量|数学|计算",
    re.IGNORECASE,
)
_STRAY = re.compile(
    "[\u0400-\u04ff]{2,}|[\uac00-\ud7a3]+|[\u0620-\u064a]{2,}|[\u0e01-\u0e4e]{2,}|[\u3041-\u3096]+"
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\$[^$\n]+\$", re.DOTALL)

STRAYS = frozenset(("cyrillic", "hangul", "arabic", "thai", "kana"))
"""Scripts that a stray word may be in."""

KEPT = 200
"""So many records of each language are remembered in any case, until the task's is known."""

QUOTING = 4
"""A text with so many characters of a script is in its language too, and perhaps quotes another."""


BEGINNING_CHARACTERS = 51
"""Of a record: one more than is shown of it."""

_Seen = tuple[str | None, dict[str, int], str, tuple[Hit, ...]]
"""The script of the prompts, characters by script, the record's beginning, and hits."""


class _Late(NamedTuple):
    """A record whose language is held against its task's when that is known."""

    record_id: str
    tags: tuple[str, ...]
    counts: dict[str, int]
    text: str


@dataclass(frozen=True, slots=True)
class LanguageMix:
    """Checks the languages of answers, as far as scripts tell them."""

    name: ClassVar[str] = "language"
    finds: ClassVar[str] = "answers in another language than asked, stray words of a third one"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "answer_language",
            "attention",
            "the answer is in another script than its prompt, which asks for no other language",
            "Translate the answer, or say in the prompt which language is wanted.",
        ),
        Rule(
            "other_than_task",
            "attention",
            "the prompt is in another language than nearly all others of the task type",
            "Give it a task type of its own, or drop it.",
            limit="task_share",
        ),
        Rule(
            "stray_script",
            "attention",
            "a word of a third script stands in an answer whose prompt has none of it",
            "Mend the word: models slip into another language in mid-sentence.",
            limit="stray_characters",
        ),
        Rule(
            "mixed_answer",
            "attention",
            "the answer goes over into another language for a long stretch",
            "Translate the stretch, or drop the record.",
            limit="mixed_words",
        ),
    )

    task_share: float = setting(
        0.9, "Share of a task's records from which on their language is the task's."
    )
    least_characters: int = setting(
        30, "Texts of fewer characters (a Latin word counts as two) are too short to tell."
    )
    stray_characters: int = setting(12, "More than this of a third script is no slip.")
    mixed_words: int = setting(
        25, "So many Latin words in a row, within a Chinese answer, are a long stretch."
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self)


class _Run:
    def __init__(self, check: LanguageMix) -> None:
        self._check = check
        self._tally = Tally(check)
        self._scripts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._late: defaultdict[tuple[str, str], list[_Late]] = defaultdict(list)
        self._stretch = re.compile(rf"(?:[A-Za-z][\w'’-]*[ ,.;:!?]*[ \n]){{{check.mixed_words},}}")

    def look(self, view: View) -> _Seen:
        hits: list[Hit] = []
        total: dict[str, int] = {}
        for turn in view.turns:
            asked = count_scripts(turn.prompt)
            for script, count in asked.items():
                total[script] = total.get(script, 0) + count
            hits += self._hits(view, turn, asked)
        if not view.turns:
            total = count_scripts(view.whole)
        main = main_script(total, self._check.least_characters)
        return main, total, view.whole[:BEGINNING_CHARACTERS], first_hits(hits)

    def take(self, head: Head, seen: _Seen) -> Iterable[Finding]:
        script, total, beginning, hits = seen
        self._tally.count(head.task_type)
        if script is not None:
            self._scripts[head.task_type][script] += 1
            late = self._late[head.task_type, script]
            # Of the script that is usual so far little need be kept; it may be the other one yet.
            if len(late) < KEPT or len(late) < self._scripts[head.task_type].total() / 5:
                late.append(_Late(head.id, head.tags, total, shown(beginning, 0, 30)))
        return self._tally.findings(head, hits)

    def _hits(self, view: View, turn: Turn, asked: dict[str, int]) -> Iterator[Hit]:
        least = self._check.least_characters
        counts = count_scripts(turn.answer)
        answered = main_script(counts, least)
        place = view.name_of(turn.index)
        wanted = main_script(asked, 8)
        apart = counts.get(wanted or "", 0) < QUOTING and not _speaks(asked, answered)
        if answered and wanted and answered != wanted and apart:
            plain = _CODE.sub(" ", turn.answer)
            if main_script(count_scripts(plain), least) == answered and not _asks(view, turn):
                yield Hit("answer_language", NAMES[answered], NAMES[wanted], place)
        if answered is None:
            return
        if not STRAYS.isdisjoint(counts) and (stray := _STRAY.search(turn.answer)):
            yield from self._stray(view, turn, counts, answered, stray)
        if answered == "han" and counts.get("latin", 0) >= 2 * self._check.mixed_words:
            stretch = self._stretch.search(_CODE.sub(" ", turn.answer))
            if stretch and not _asks(view, turn) and asked.get("latin", 0) < counts["latin"] // 2:
                words = len(stretch[0].split())
                quoted = f"{place}: {stretch[0][:60]}…"
                yield Hit("mixed_answer", words, self._check.mixed_words, quoted)

    def _stray(
        self,
        view: View,
        turn: Turn,
        counts: dict[str, int],
        answered: str,
        stray: re.Match[str],
    ) -> Iterator[Hit]:
        [script] = count_scripts(stray[0])
        count = counts.get(script, 0)
        if script == answered or count > self._check.stray_characters or _asks(view, turn):
            return
        before = "".join(view.texts[: turn.index])
        if script in count_scripts(before):
            return
        place = f"{view.name_of(turn.index)}: {shown(turn.answer, *stray.span())}"
        yield Hit("stray_script", count, self._check.stray_characters, place)

    def finish(self) -> Report:
        found = []
        for task_type, scripts in self._scripts.items():
            [(script, count)] = scripts.most_common(1)
            share = count / scripts.total()
            if scripts.total() < MIN_RECORDS or share < self._check.task_share:
                continue
            for (name, other), records in self._late.items():
                if name != task_type or other == script:
                    continue
                for late in records:
                    if late.counts.get(script, 0) >= QUOTING:
                        continue
                    said = f"the task is in {NAMES[script]}: {late.text}"
                    hit = Hit("other_than_task", NAMES[other], NAMES[script], said)
                    found.append(self._tally.finding(late.record_id, name, late.tags, hit))
        return Report(found, [self._with_languages(one) for one in self._tally.verdicts()])

    def _with_languages(self, verdict: Verdict) -> Verdict:
        scripts = self._scripts[verdict.task_type]
        shares = {
            f"{name}_share": round(count / scripts.total(), 4) for name, count in scripts.items()
        }
        figures = {**verdict.figures, **shares}
        return Verdict(verdict.task_type, verdict.check, verdict.state, figures, verdict.advice)


def _speaks(asked: dict[str, int], script: str | None) -> bool:
    """Whether a prompt has something in a script: two characters, or of Latin four words."""
    return asked.get(script or "", 0) >= (8 if script == "latin" else 2)


def _asks(view: View, turn: Turn) -> bool:
    """Whether a message before the answer speaks of languages, code or formulas."""
    return any(
        _OTHER_LANGUAGE_ASKED.search(text)
        for message, text in zip(view.record.messages[: turn.index], view.texts, strict=False)
        if message.role != "assistant"
    )
