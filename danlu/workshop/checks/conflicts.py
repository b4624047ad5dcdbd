"""The same prompt with answers that contradict one another, or may."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from danlu.records.record import TEXT_ROLE
from danlu.workshop.checks.check import Finding, Report, Rule, Running, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.labels import Labels, fold_label
from danlu.workshop.checks.per_record import Hit, Tally, shown
from danlu.workshop.checks.view import SYSTEM_ROLES, Head, Turn, View

KEPT_CHARACTERS = 160
"""Of an answer, so much is kept to be compared with the next answer to the same prompt."""


_Answered = tuple[int, str, int]
"""A key of all that comes before an answer, as much of the answer as is kept, and its own key."""


class _First(NamedTuple):
    """The first answer to a prompt."""

    record_id: str
    answer: str
    key: int


class _Clash(NamedTuple):
    """Another answer to a prompt that had one."""

    record_id: str
    task_type: str
    tags: tuple[str, ...]
    partner: str
    answer: str
    other: str


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Finds records that give other answers to a prompt that is the same when folded.

    The prompt is all that comes before the answer: system prompt, tools, history. Equal answers are
    duplicates, and no conflict.
    """

    name: ClassVar[str] = "conflicts"
    finds: ClassVar[str] = "the same prompt with conflicting answers"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "labels",
            "fault",
            "the same prompt has another label in another record",
            "Find the right label; the model can only learn to guess here.",
        ),
        Rule(
            "answers",
            "attention",
            "the same prompt has a quite different answer in another record",
            "Read both: for open tasks two good answers are welcome, two facts are not.",
            limit="least_similarity",
        ),
    )

    least_similarity: float = setting(
        0.3,
        "Answers of open tasks that are less alike than this (normalised indel similarity of their "
        "first 160 characters) are found.",
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self, context.labels)


class _Run:
    def __init__(self, check: Conflicts, labels: Labels) -> None:
        self._check = check
        self._labels = labels
        self._tally = Tally(check)
        self._first: dict[int, _First] = {}
        self._clashes: list[_Clash] = []

    def look(self, view: View) -> list[_Answered] | None:
        return [*_asked(view)] if view.turns else None

    def take(self, head: Head, seen: list[_Answered] | None) -> Iterable[Finding]:
        self._tally.count(head.task_type, seen is not None)
        for key, answer, answer_key in seen or ():
            first = self._first.get(key)
            if first is None:
                self._first[key] = _First(head.id, answer, answer_key)
            elif first.key != answer_key and first.record_id != head.id:
                clash = (head.id, head.task_type, head.tags, first.record_id, answer, first.answer)
                self._clashes.append(_Clash(*clash))
        return ()

    def finish(self) -> Report:
        found: dict[str, Finding] = {}
        for clash in self._clashes:
            hit = self._hit(clash)
            if hit is not None and clash.record_id not in found:
                found[clash.record_id] = self._tally.finding(
                    clash.record_id, clash.task_type, clash.tags, hit
                )
        return Report(found.values(), self._tally.verdicts())

    def _hit(self, clash: _Clash) -> Hit | None:
        detail = f"{shown(clash.answer, 0, 40)!r} against {shown(clash.other, 0, 40)!r}"
        labels = self._labels.closed(clash.task_type)
        one, other = fold_label(clash.answer), fold_label(clash.other)
        if one == other:
            return None
        if labels and one in labels and other in labels:
            return Hit("labels", one, other, detail, clash.partner)
        from rapidfuzz import fuzz

        alike = fuzz.ratio(clash.answer, clash.other) / 100
        if alike >= self._check.least_similarity:
            return None
        limit = self._check.least_similarity
        return Hit("answers", round(alike, 3), limit, detail, clash.partner)


def _asked(view: View) -> Iterator[_Answered]:
    """Yield a key of all that comes before each answer, and the answer."""
    turns = {turn.index: turn for turn in view.turns}
    before = hashlib.blake2b(digest_size=8)
    if tools := view.record.tools:
        _add(before, "tools", json.dumps(tools, sort_keys=True, ensure_ascii=False))
    for index, message in enumerate(view.record.messages):
        if index in turns:
            yield _answered(before, turns[index])
        elif message.role == TEXT_ROLE:
            return
        is_system = index == 0 and message.role in SYSTEM_ROLES
        _add(before, message.role, view.folded_system if is_system else view.text(index).folded)
        if calls := message.extra.get("tool_calls"):
            _add(before, "calls", json.dumps(calls, sort_keys=True, ensure_ascii=False))
    for turn in view.turns:
        if turn.index >= len(view.record.messages):
            yield _answered(before, turn)


def _answered(before: hashlib.blake2b, turn: Turn) -> _Answered:
    key = int.from_bytes(before.digest(), "big")
    return key, turn.folded_answer[:KEPT_CHARACTERS], turn.answered.key


def _add(before: hashlib.blake2b, what: str, text: str) -> None:
    before.update(f"{len(what)},{len(text)}:{what}{text}".encode("utf-8", "surrogatepass"))
