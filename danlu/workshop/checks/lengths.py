"""Balance of lengths: prompts and answers short, middle and long, and answers that end."""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from danlu.workshop.checks.check import (
    MIN_RECORDS,
    Finding,
    Report,
    Rule,
    Running,
    State,
    Verdict,
    setting,
)
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.labels import Labels
from danlu.workshop.checks.per_record import Hit, Tally
from danlu.workshop.checks.per_type import percent, too_few, verdict_of
from danlu.workshop.checks.view import Head, View
from danlu.workshop.store.decision import Scalar

PRACTICE = "practitioners' reports, 2023-2024"
SIZES = ("short", "middle", "long")

# A text that was cut ends in a word or a comma, in a line of running text.
_CUT = re.compile(r"[\w,，、;；(（-]$")
_LIST_LINE = re.compile(r"\s*(?:[-*+•·#>|]|\d+[.)、]|\(?[a-zA-Z][.)]|[一二三四五六七八九十]+[、.])")
_COMMA = re.compile(r"[,，、;；:：]")
_STOP = re.compile(r"[.!?。！？][\"'”’)）」』]*(?:\s|$|(?<=[。！？]))")


@dataclass(frozen=True, slots=True)
class LengthBalance:
    """Checks how long prompts and answers are, in units, and whether answers end.

    A unit is a word, or a character of a script without spaces.
    """

    name: ClassVar[str] = "lengths"
    finds: ClassVar[str] = "prompts or answers of one length, answers that all stop early"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "prompts_one_size",
            "attention",
            "nearly all prompts are of one size (short, middle or long)",
            "Add prompts of the sizes that users will write.",
            of="task_type",
            limit="one_size_share",
            source=PRACTICE,
        ),
        Rule(
            "answers_one_size",
            "attention",
            "nearly all answers are of one size, and answers are open",
            "Vary what is asked for, so that the model does not learn a length.",
            of="task_type",
            limit="one_size_share",
            source=PRACTICE,
        ),
        Rule(
            "answers_one_length",
            "fault",
            "the middle four fifths of the answers differ hardly in length, and answers are open",
            "See whether they were cut at one limit; vary what is asked for.",
            of="task_type",
            limit="least_spread",
            source=PRACTICE,
        ),
        Rule(
            "answers_stop_early",
            "attention",
            "nearly all answers are a few words, and answers are open",
            "If they are labels, declare closed_labels; else see whether they were cut.",
            of="task_type",
            limit="few_units",
            source=PRACTICE,
        ),
        Rule(
            "no_ending",
            "attention",
            "the answer ends in the middle of a sentence",
            "Make it again with more room, cut it back to a sentence's end, or drop it.",
            tolerated=0.02,
            limit="unended_units",
        ),
    )

    short_units: int = setting(32, "Fewer units than this are short.")
    long_units: int = setting(256, "This many units or more are long.")
    one_size_share: float = setting(0.95, "Share of one size from which on there is no balance,")
    wide_spread: float = setting(
        4.0, "unless the 90th percentile of the lengths is so many times the 10th."
    )
    least_spread: float = setting(
        1.15, "Least ratio of the 90th to the 10th percentile of the answers' lengths."
    )
    few_units: int = setting(8, "Answers of up to so many units are a few words.")
    unended_units: int = setting(
        24, "Answers, and last lines of a third of it, of this many units on are looked at."
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self, context.labels)


class _Run:
    def __init__(self, check: LengthBalance, labels: Labels) -> None:
        self._check = check
        self._labels = labels
        self._tally = Tally(check)
        self._prompts: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
        self._answers: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))

    def look(self, view: View) -> tuple[list[tuple[int, int]], Hit | None]:
        """Return the units of each prompt and answer, and the first answer that does not end."""
        least = self._check.unended_units
        lengths = []
        found: Hit | None = None
        for turn in view.turns:
            length = len(turn.answer_units)
            lengths.append((len(turn.prompt_units), length))
            if found is None and length >= least and (last := unended(turn.answer, least // 3)):
                place = f"{view.name_of(turn.index)} ends in: …{last[-40:]}"
                found = Hit("no_ending", length, least, place)
        return lengths, found

    def take(self, head: Head, seen: tuple[list[tuple[int, int]], Hit | None]) -> Iterable[Finding]:
        lengths, hit = seen
        self._tally.count(head.task_type, bool(lengths))
        for prompt, answer in lengths:
            self._prompts[head.task_type].append(prompt)
            self._answers[head.task_type].append(answer)
        return () if hit is None else self._tally.findings(head, [hit])

    def finish(self) -> Report:
        return Report((), [self._verdict(counted) for counted in self._tally.verdicts()])

    def _verdict(self, counted: Verdict) -> Verdict:
        check, task_type = self._check, counted.task_type
        prompts = np.asarray(self._prompts[task_type], np.int64)
        answers = np.asarray(self._answers[task_type], np.int64)
        if few := too_few(check, task_type, len(answers), MIN_RECORDS):
            return few if counted.state in ("exempt", "ok") else counted
        is_closed = bool(self._labels.closed(task_type))
        figures: dict[str, Scalar] = {**counted.figures, "closed_labels": is_closed}
        figures.update(self._figures("prompt", prompts))
        figures.update(self._figures("answer", answers))
        broken = [*self._broken(prompts, answers, is_closed)]
        verdict = verdict_of(check, task_type, figures, broken)
        if counted.state == "attention":
            state: State = "fault" if verdict.state == "fault" else "attention"
            advice = f"{verdict.advice} {counted.advice}".strip()
            return Verdict(task_type, check.name, state, verdict.figures, advice)
        return verdict

    def _figures(self, what: str, lengths: NDArray[np.int64]) -> dict[str, Scalar]:
        shares = dict(zip(SIZES, self._shares(lengths), strict=True))
        marks = np.percentile(lengths, [10, 50, 90])
        return {
            **{f"{what}_{size}": share for size, share in shares.items()},
            **{
                f"{what}_p{mark}": int(value)
                for mark, value in zip((10, 50, 90), marks, strict=True)
            },
        }

    def _shares(self, lengths: NDArray[np.int64]) -> list[float]:
        sizes = np.digitize(lengths, [self._check.short_units, self._check.long_units])
        counts = Counter(sizes.tolist())
        return [counts[size] / len(lengths) for size in range(len(SIZES))]

    def _broken(
        self, prompts: NDArray[np.int64], answers: NDArray[np.int64], is_closed: bool
    ) -> Iterator[tuple[str, str]]:
        check = self._check
        yield from self._one_size("prompts", prompts)
        if is_closed:
            return
        low, high = np.percentile(answers, [10, 90])
        if high <= check.few_units:
            share = float((answers <= check.few_units).mean())
            yield (
                "answers_stop_early",
                f"{percent(share)} of the answers have at most {check.few_units} units.",
            )
            return
        yield from self._one_size("answers", answers)
        if high < check.least_spread * low:
            yield (
                "answers_one_length",
                f"Four fifths of the answers have {low:.0f} to {high:.0f} units.",
            )

    def _one_size(self, what: str, lengths: NDArray[np.int64]) -> Iterator[tuple[str, str]]:
        shares = self._shares(lengths)
        size = int(np.argmax(shares))
        low, high = np.percentile(lengths, [10, 90])
        if shares[size] >= self._check.one_size_share and high < self._check.wide_spread * low:
            borders = (
                f"under {self._check.short_units}",
                f"{self._check.short_units} to {self._check.long_units - 1}",
                f"{self._check.long_units} or more",
            )
            yield (
                f"{what}_one_size",
                f"{percent(shares[size])} of the {what} are {SIZES[size]} ({borders[size]} units).",
            )


def unended(text: str, line_units: int) -> str:
    """Return the last line of an answer that ends in the middle of a sentence; nothing if it ends.

    Verses, lists, titles and code end without a stop; so only a long last line of running text
    counts, in a text that has stops elsewhere.

    Example:
        >>> unended("It is hot. One must be careful when the furnace is opened and the", 8)
        'It is hot. One must be careful when the furnace is opened and the'
        >>> unended("It is hot. Be careful.", 4)
        ''
    """
    text = text.rstrip()
    if not _CUT.search(text[-1:]) or "```" in text:
        return ""
    line = text[text.rfind("\n") + 1 :]
    if _LIST_LINE.match(line):
        return ""
    rest = line[max((stop.end() for stop in _STOP.finditer(line)), default=0) :]
    characters = len(rest) if not rest.isascii() else len(rest) // 5
    if rest == line and not _COMMA.search(line) and characters < 3 * line_units:
        return ""  # a signature, a title, a verse
    is_prose = characters >= line_units and "=" not in rest and "://" not in rest
    return line if is_prose and _STOP.search(text) else ""
