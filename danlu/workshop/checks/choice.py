"""Format by code: a choice is among the options of the prompt, a label among those declared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

from danlu.workshop.checks.check import Rule, Running, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.labels import fold_label
from danlu.workshop.checks.per_record import Hit, PerRecord, shown
from danlu.workshop.checks.view import Turn, View

SERIES = ("ABCDEFGHIJ", "甲乙丙丁戊己庚辛", "①②③④⑤⑥⑦⑧⑨⑩")
_LETTERS = "".join(SERIES)

# An option: (A) A) A. A、 A: at a line's beginning or after a space; 甲、 and ① too.
_OPTION = re.compile(
    r"(?:^|(?<=[\s,;，；。？?：:]))[(（\[]?([A-Ja-j甲乙丙丁戊己庚辛])[)）\].、．:：]\)?[ \t]*"
    r"|([①②③④⑤⑥⑦⑧⑨⑩])[ \t]*",
    re.MULTILINE,
)
_SECOND = re.compile(r"\b[Bb]\)?[)）\].、．:：]|乙[)）\].、．:：]|②")
_ONE = rf"[(（\[]?([A-J{_LETTERS[10:]}])[)）\]]?"
_ALONE = re.compile(rf"\**{_ONE}[.。．]?\**")
_SEVERAL = re.compile(r"[A-J](?:(?:[,，、 ]| and |和)*[A-J])+[.。]?")
_WITH_TEXT = re.compile(
    rf"\**(?:[(（\[]([A-Ja-j{_LETTERS[10:]}])[)）\]]|([a-j](?=[)）])|[A-J甲乙丙丁戊己庚辛](?=[)）.、．:：])))"
    r"[)）.、．:：]*\s*([^\n]+)"
)
_CONTROL = re.compile(r"<\|\w+\|>|</s>")
_LED = re.compile(
    rf"(?:answer|option|choice)(?: is|:)\s*:?\s*\**{_ONE}(?![\w'’])"
    rf"|(?:答案|选项|故选|应选|应该选|选择)(?:应)?[是为]?\s*[:：]?\s*\**{_ONE}(?!\w)",
    re.IGNORECASE,
)


class Option(NamedTuple):
    """One of the options of a prompt: its mark, and its text."""

    mark: str
    text: str


@dataclass(frozen=True, slots=True)
class Choices:
    """Checks answers to prompts with options (A, B, C; 甲, 乙, 丙; ①, ②, ③), and closed labels."""

    name: ClassVar[str] = "choice"
    finds: ClassVar[str] = "choices that were not offered, labels that are not declared"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "not_offered",
            "fault",
            "the answer chooses what the prompt does not offer",
            "Correct the answer or the options.",
        ),
        Rule(
            "text_of_another",
            "fault",
            "the answer's mark is that of one option and its text that of another",
            "Find out which is right.",
        ),
        Rule(
            "not_an_option",
            "attention",
            "the answer is short, and is neither the mark nor the text of an option",
            "Write the option, so that the form of answers is the same.",
            limit="short_characters",
        ),
        Rule(
            "label_not_declared",
            "fault",
            "the answer is none of the labels that the taxonomy declares for its task type",
            "Correct the answer, or declare the label.",
        ),
    )

    short_characters: int = setting(
        40, "Longest answer that is expected to be an option and nothing else."
    )

    def start(self, context: Context) -> Running:
        """Begin, with the labels that the context declares."""
        return PerRecord(self, partial(_look, self, context.labels.declared))


def options(prompt: str) -> list[Option]:
    r"""Return the options of a prompt, of the last list where there are several; or none.

    Example:
        >>> options("Pick one.\n(A) sea (B) land")
        [Option(mark='A', text='sea'), Option(mark='B', text='land')]
        >>> [option.mark for option in options("下列哪个正确？\n甲、水\n乙、火")]
        ['甲', '乙']
    """
    if not _SECOND.search(prompt):
        return []
    run: list[re.Match[str]] = []
    last: list[re.Match[str]] = []
    series = ""
    for found in _OPTION.finditer(prompt):
        mark = (found[1] or found[2]).upper()
        if any(mark == one[0] for one in SERIES):
            run, series = [found], next(one for one in SERIES if mark == one[0])
        elif series and len(run) < len(series) and mark == series[len(run)]:
            run.append(found)
            if len(run) > 1:
                last = run
    if not last:
        return []
    stops = [one.start() for one in last[1:]]
    end = prompt.find("\n", last[-1].end() + 1)
    stops.append(len(prompt) if end < 0 else end)
    offered = [
        Option((one[1] or one[2]).upper(), prompt[one.end() : stop].strip(" \t\n;；,，"))
        for one, stop in zip(last, stops, strict=True)
    ]
    # Initials (A. B. Smith) have nothing between them.
    return offered if all(option.text for option in offered) else []


def chosen(answer: str) -> tuple[list[str], str]:
    """Return the marks that an answer chooses, and the text that stands with a single one.

    Example:
        >>> chosen("B. land"), chosen("答案是丙。"), chosen("A dog barks."), chosen("A, C")
        ((['B'], 'land'), (['丙'], ''), ([], ''), (['A', 'C'], ''))
    """
    answer = _CONTROL.sub("", answer).strip()
    if alone := _ALONE.fullmatch(answer):
        return [alone[1]], ""
    if _SEVERAL.fullmatch(answer):
        return re.findall("[A-J]", answer), ""
    if named := _WITH_TEXT.match(answer):
        return [(named[1] or named[2]).upper()], named[3].strip()
    led = [one[1] or one[2] for one in _LED.finditer(answer)]
    return ([led[-1].upper()], "") if led else ([], "")


def _look(check: Choices, declared: Mapping[str, frozenset[str]], view: View) -> list[Hit] | None:
    hits: list[Hit] | None = None
    labels = declared.get(view.task_type)
    for turn in view.turns:
        if labels:
            hits = hits or []
            if fold_label(turn.answer) not in labels:
                limit = ", ".join(sorted(labels))[:80]
                hits.append(Hit("label_not_declared", shown(turn.answer, 0, 40), limit))
        elif offered := options(turn.prompt):
            hits = [*(hits or ()), *_against(check, turn, offered)]
    return hits


def _against(check: Choices, turn: Turn, offered: list[Option]) -> Iterator[Hit]:
    marks, text = chosen(turn.answer)
    known = {option.mark: fold_label(option.text) for option in offered}
    if any(mark not in known for mark in marks):
        # A mark with text may be a list or an initial; alone or led by words it is a choice.
        if not text:
            yield Hit("not_offered", "".join(marks), "".join(known), shown(turn.answer, 0, 60))
        return
    if marks and text:
        said = fold_label(text)
        others = [mark for mark, own in known.items() if own == said and mark != marks[0]]
        if others and known[marks[0]] != said:
            yield Hit("text_of_another", f"{marks[0]} {text}"[:80], others[0])
    elif not marks and len(turn.answer) <= check.short_characters and "\n" not in turn.answer:
        said = fold_label(turn.answer)
        if said not in known.values() and said.upper() not in known:
            yield Hit("not_an_option", turn.answer, "".join(known))
