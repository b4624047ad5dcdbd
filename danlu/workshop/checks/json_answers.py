"""Format by code: answers that are JSON parse, and match the schema of their task type."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from danlu.records.json_text import loads
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
from danlu.workshop.checks.schema import Schema, schema_of
from danlu.workshop.checks.view import Head, View

# An object or an array of JSON begins so; [Verse 1], {{name}} and {x | x > 0} do not.
_BEGINS = re.compile(r'\s*(?:\{\s*(?:"|\})|\[\s*(?:["{]|\[\s*["{\[\d]|-?\d[\d.]*\s*[,\]]|\]))')
_FENCED = re.compile(r"^[ \t]*```(?:json|JSON)[ \t]*\n(.*?)\n?[ \t]*```", re.MULTILINE | re.DOTALL)
_ONLY_FENCE = re.compile(r"\s*```(?:json|JSON)?[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)
# A sketch of JSON: with comments, or with dots for what is left out.
_PIECE = re.compile(r"^\s*(?://|#|/\*)|\.\.\.|…", re.MULTILINE)

KEPT = 1000
"""So many answers that are no JSON are remembered in any case, until it is known what is usual."""


BEGINNING_CHARACTERS = 61
"""Of an answer that is no JSON: one more than is shown of it."""

_Seen = tuple[bool, list[str | None], tuple[Hit, ...]]
"""Whether the check applies; of each answer its beginning, or None if it is JSON; and hits."""


@dataclass(frozen=True, slots=True)
class JsonAnswers:
    """Checks answers that are JSON, as a whole or in a fenced block."""

    name: ClassVar[str] = "json"
    finds: ClassVar[str] = "JSON answers that do not parse or do not match their schema"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "invalid",
            "fault",
            "the answer is JSON, but does not parse",
            "Mend or drop it: the model learns broken JSON.",
        ),
        Rule(
            "block_invalid",
            "attention",
            "a fenced block marked json does not parse",
            "Mend it, or mark it otherwise where it is only a sketch.",
        ),
        Rule(
            "repeated_key",
            "attention",
            "an object holds one key twice, of which parsers keep one",
            "Keep the right one.",
        ),
        Rule(
            "schema",
            "fault",
            "the answer does not match the JSON Schema of its task type",
            "Mend the answer, or the schema.",
        ),
        Rule(
            "not_json",
            "fault",
            "the answer is no JSON, where its task type has a schema or nearly all answers are",
            "Write it as the others are, or give it a task type of its own.",
            limit="expected_share",
        ),
    )

    expected_share: float = setting(
        0.9, "Share of answers that are JSON from which on those that are not are found."
    )

    def start(self, context: Context) -> Running:
        """Begin, with the schemas of the context."""
        return _Run(self, {name: schema_of(given) for name, given in context.schemas.items()})


class _Run:
    def __init__(self, check: JsonAnswers, schemas: Mapping[str, Schema]) -> None:
        self._check = check
        self._schemas = schemas
        self._tally = Tally(check)
        self._answers: Counter[str] = Counter()
        self._json: Counter[str] = Counter()
        self._others: defaultdict[str, list[tuple[str, tuple[str, ...], str]]] = defaultdict(list)

    def look(self, view: View) -> _Seen:
        hits: list[Hit] = []
        answers: list[str | None] = []
        applies = view.task_type in self._schemas
        for turn in view.turns:
            text = turn.answer
            if _is_answer(text):
                applies = True
                answers.append(None)
                hits += self._whole(view, text)
            else:
                answers.append(text[:BEGINNING_CHARACTERS])
                if "```json" in text or "```JSON" in text:
                    applies = True
                    hits += _blocks(text)
        return applies, answers, first_hits(hits)

    def take(self, head: Head, seen: _Seen) -> Iterable[Finding]:
        applies, answers, hits = seen
        task_type = head.task_type
        for beginning in answers:
            self._answers[task_type] += 1
            if beginning is None:
                self._json[task_type] += 1
                continue
            others = self._others[task_type]
            # Where nearly all are JSON the others are few; elsewhere the list need not be whole.
            if task_type in self._schemas or len(others) < max(KEPT, self._json[task_type]):
                others.append((head.id, head.tags, shown(beginning, 0, 40)))
        self._tally.count(task_type, applies)
        return self._tally.findings(head, hits)

    def _whole(self, view: View, text: str) -> Iterator[Hit]:
        fenced = _ONLY_FENCE.fullmatch(text)
        text = fenced[1] if fenced else text
        repeated: list[str] = []
        try:
            value = _parse(text, repeated)
        except json.JSONDecodeError as error:
            if not _are_lines(text):
                yield Hit("invalid", detail=_told(error, text))
            return
        if repeated:
            yield Hit("repeated_key", repeated[0])
        schema = self._schemas.get(view.task_type)
        if schema is None:
            return
        if schema.fault:
            yield Hit("schema", detail=f"the schema of the task type is broken: {schema.fault}")
        for fault in schema.faults(value):
            yield Hit("schema", detail=fault)

    def finish(self) -> Report:
        late = []
        for task_type, others in self._others.items():
            share = self._json[task_type] / self._answers[task_type]
            enough = self._answers[task_type] >= MIN_RECORDS and self._json[task_type] > 0
            if task_type in self._schemas or (enough and share >= self._check.expected_share):
                limit = None if task_type in self._schemas else self._check.expected_share
                for record_id, tags, text in others:
                    hit = Hit("not_json", round(share, 3), limit, text)
                    late.append(self._tally.finding(record_id, task_type, tags, hit))
        verdicts = [self._with_share(verdict) for verdict in self._tally.verdicts()]
        return Report(late, verdicts)

    def _with_share(self, verdict: Verdict) -> Verdict:
        answers = self._answers[verdict.task_type]
        if verdict.state == "exempt" or not answers:
            return verdict
        share = round(self._json[verdict.task_type] / answers, 4)
        figures = {**verdict.figures, "json_share": share}
        return Verdict(verdict.task_type, verdict.check, verdict.state, figures, verdict.advice)


def _is_answer(text: str) -> bool:
    """Say whether an answer is JSON as a whole."""
    bare = text.lstrip()
    return (bare[:1] in ("{", "[") and _looks_whole(text)) or (
        bare.startswith("```") and _fenced_whole(text)
    )


def _looks_whole(text: str) -> bool:
    """Whether a text that begins with a bracket is meant as JSON as a whole, be it broken.

    Prose after the last bracket makes it a text that begins with an example, unless nothing ends:
    then it was cut.
    """
    if not _BEGINS.match(text):
        return False
    end = max(text.rfind("}"), text.rfind("]"))
    return end < 0 or len(text[end + 1 :].split()) <= 1


def _fenced_whole(text: str) -> bool:
    fenced = _ONLY_FENCE.fullmatch(text)
    return fenced is not None and "```" not in fenced[1] and _looks_whole(fenced[1])


def _blocks(text: str) -> Iterator[Hit]:
    for block in _FENCED.findall(text):
        try:
            _parse(block, [])
        except json.JSONDecodeError as error:
            if not _PIECE.search(block) and not _are_lines(block):
                yield Hit("block_invalid", detail=_told(error, block))


def _are_lines(block: str) -> bool:
    """Whether each line is JSON by itself."""
    try:
        for line in block.split("\n"):
            if line.strip():
                loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _parse(text: str, repeated: list[str]) -> Any:
    """Parse JSON, and add to ``repeated`` the keys that an object has twice."""

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(given)
        if len(made) < len(given):
            counts = Counter(key for key, _ in given)
            repeated.extend(key for key, count in counts.items() if count > 1)
        return made

    return loads(text, object_pairs_hook=pairs)


def _told(error: json.JSONDecodeError, text: str) -> str:
    place = f"line {error.lineno}, column {error.colno}"
    if text[error.pos : error.pos + 1].isspace():  # of a kind that JSON does not know
        place += f", where U+{ord(text[error.pos]):04X} stands"
    return f"{error.msg} at {place}: {shown(text, error.pos, error.pos + 1)}"
