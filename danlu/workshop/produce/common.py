"""What the makers share: the parts of a record, few-shot examples, and what was rejected."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from danlu.records import Message, Record, Response, content_id
from danlu.records.formats.format import Parts
from danlu.records.ids import parts_id
from danlu.workshop.produce.request import Reply, Request, Unanswered
from danlu.workshop.store.decision import Decision, Scalar

REASONING = "reasoning_content"
MADE = "made"
"""Key of a record's ``meta`` under which stands how it was made."""


class Asking(Protocol):
    """What a maker needs of the engine."""

    def settings(self) -> dict[str, Any]:
        """Say what shapes the answers."""

    def ask(self, requests: Sequence[Request]) -> list[Reply | Unanswered]:
        """Return what became of each request, in their order."""


class Shot(NamedTuple):
    """An example for a prompt."""

    id: str
    task_type: str
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that a model made and that was not taken.

    Attributes:
        rule: Why.
        text: What it was.
        partner: Id of the record that it was made from, or was too like.
        value: What was measured.
        limit: What the value was held against.
    """

    rule: str
    text: str
    partner: str | None = None
    value: Scalar = None
    limit: Scalar = None


@dataclass
class Rejects:
    """Everything that a maker did not take, with the reason.

    Attributes:
        rows: In the order in which they came.
    """

    rows: list[Reject] = field(default_factory=list)

    def add(
        self,
        rule: str,
        text: str,
        partner: str | None = None,
        value: Scalar = None,
        limit: Scalar = None,
    ) -> None:
        """Note one."""
        self.rows.append(Reject(rule, text, partner, value, limit))

    def counts(self) -> dict[str, int]:
        """Return how many were rejected by which rule, the commonest first."""
        return dict(Counter(row.rule for row in self.rows).most_common())

    def write(self, path: Path) -> None:
        """Write one JSON object a line."""
        with path.open("w", encoding="utf-8") as file:
            for row in self.rows:
                values = {name: getattr(row, name) for name in row.__slots__}
                file.write(json.dumps(values, ensure_ascii=False) + "\n")


class Shots:
    """A pool of examples by task type, another draw for every request.

    Args:
        records: Those with an answer are examples.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._by_type: dict[str, list[Shot]] = defaultdict(list)
        for record in records:
            if is_answered(record) and len(turns(record)) == 2:
                shot = Shot(record.id, record.task_type, prompt_of(record), answer_of(record))
                self._by_type[record.task_type].append(shot)

    def draw(self, task_type: str, count: int, key: str, without: str = "") -> list[Shot]:
        """Draw examples of a task type.

        Args:
            task_type: Whose.
            count: How many at most.
            key: Another key, another draw.
            without: Id of a record that must not be among them.
        """
        pool = [shot for shot in self._by_type.get(task_type, ()) if shot.id != without]
        return random.Random(key).sample(pool, min(count, len(pool)))


def turns(record: Record) -> list[Message]:
    """Return the messages without system messages."""
    return [message for message in record.messages if message.role != "system"]


def is_answered(record: Record) -> bool:
    """Whether the conversation ends with an answer."""
    last = record.messages[-1]
    return last.role == "assistant" and bool(last.content)


def asked_in(record: Record) -> list[Message]:
    """Return a conversation without the answers that it ends with."""
    messages = list(record.messages)
    while messages and messages[-1].role == "assistant":
        messages.pop()
    return messages


def prompt_of(record: Record) -> str:
    """Return the last thing that the user says."""
    asked = [message.content or "" for message in record.messages if message.role == "user"]
    return asked[-1] if asked else ""


def answer_of(record: Record) -> str:
    """Return the last answer; empty if there is none."""
    return record.messages[-1].content or "" if is_answered(record) else ""


def answer_message(reply: Reply) -> Message:
    """Return an answer as a message, its reasoning apart."""
    extra = {REASONING: reply.reasoning} if reply.reasoning else {}
    return Message("assistant", reply.text, extra=extra)


def with_prompt(messages: Sequence[Message], prompt: str) -> tuple[Message, ...]:
    """Return a conversation up to the last thing that the user says, with that said otherwise."""
    last = max(place for place, message in enumerate(messages) if message.role == "user")
    return (*messages[:last], Message("user", prompt, extra=messages[last].extra))


def made_record(
    task_type: str,
    messages: Sequence[Message],
    maker: str,
    how: Mapping[str, Any],
    *,
    tags: Sequence[str] = (),
    expectations: Sequence[Mapping[str, Any]] = (),
    responses: Sequence[Response] = (),
    columns: Mapping[str, Any] | None = None,
) -> Record:
    """Return a new record, named by its content and by what made it.

    Args:
        task_type: Its task type.
        messages: The conversation.
        maker: What makes it.
        how: How, kept in ``meta["made"]``; ``from`` is the id of what it was made from.
        tags: Its tags.
        expectations: What code can expect of an answer.
        responses: Answers to compare.
        columns: What else is part of what it says, as a label; kept in ``meta``.
    """
    columns = dict(columns or {})
    meta: dict[str, Any] = {**columns, MADE: {"by": maker, **how}}
    if expectations:
        meta["expectations"] = [dict(one) for one in expectations]
    parts = Parts(tuple(messages), responses=tuple(responses))
    name = content_id([parts_id(parts), maker, how.get("from"), *([columns] if columns else [])])
    return Record(
        name,
        task_type,
        parts.messages,
        responses=parts.responses,
        tags=tuple(tags),
        source=f"made:{maker}",
        meta=meta,
    )


def once(given: Sequence[Record], made: Iterable[Decision]) -> Iterator[Decision]:
    """Leave out what has the id of a record that is there: the same was made, or given, before."""
    ids = {record.id for record in given}
    for decision in made:
        if decision.entry.id not in ids:
            ids.add(decision.entry.id)
            yield decision


def with_meta(meta: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's ``meta`` with how its answer was made."""
    return {**meta, MADE: dict(how)}
