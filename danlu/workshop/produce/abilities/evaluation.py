"""Records made ready for evaluation: each ends where code can check an answer.

An expectation is about the last answer. So a conversation in which tools are called is cut after
each call too, and the record that ends there expects that call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from danlu.records import Message, Record
from danlu.workshop.produce.abilities.common import expectations_of
from danlu.workshop.produce.expectation import Expectation
from danlu.workshop.store.decision import Decision, Progress, drop, edit, keep, make


@dataclass(frozen=True)
class CutTurns:
    """Cuts conversations after each tool call; the call is what the new record expects.

    The conversation itself stays where its last answer can be checked.
    """

    name: ClassVar[str] = "turns"
    revision: ClassVar[int] = 1

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep or drop each conversation, and add its cuts."""
        for record in records:
            last = record.messages[-1]
            if record.meta.get("expectations") and not calls_of(last):
                yield keep(record)
            else:
                yield drop(record, "nothing to check at its end")
            for place, message in enumerate(record.messages):
                if calls := calls_of(message):
                    yield make(_cut(record, place, calls), self.name, record.id)


@dataclass(frozen=True)
class Expecting:
    """Gives every record something that code can check: what follows from its answer."""

    name: ClassVar[str] = "expecting"
    revision: ClassVar[int] = 1

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep what has expectations, edit what can have some, and drop the rest."""
        for record in records:
            if record.meta.get("expectations"):
                yield keep(record)
            elif expected := [one.as_dict() for one in expectations_of(record)]:
                meta = {**record.meta, "expectations": expected}
                yield edit(replace(record, meta=meta), self.name, expected[0]["kind"])
            else:
                yield drop(record, "nothing to check at its end")


def calls_of(message: Message) -> list[dict[str, Any]]:
    """Return the tool calls of a message."""
    return list(message.extra.get("tool_calls") or ())


def call_texts(calls: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Return calls as JSON texts, as an expectation holds them."""
    texts = []
    for call in calls:
        function = call.get("function", call)
        arguments = function.get("arguments") or "{}"
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        texts.append(
            json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
        )
    return tuple(texts)


def _cut(record: Record, place: int, calls: list[dict[str, Any]]) -> Record:
    expected = Expectation("calls", call_texts(calls))
    meta = {
        **record.meta,
        "expectations": [expected.as_dict()],
        "conversation_id": record.meta.get("conversation_id", record.id),
    }
    return replace(
        record, id=f"{record.id}#{place}", messages=record.messages[: place + 1], meta=meta
    )
