"""Structure: whether the turns of a conversation follow one another as templates and models need.

What is wrong here either stops the training (the template refuses the record) or teaches something
that is never asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from danlu.errors import TemplateError
from danlu.records import Message, Record
from danlu.sequences import ChatTemplate
from danlu.sequences.template import REASONING_NAMES
from danlu.workshop.checks.check import Rule, Running
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord
from danlu.workshop.checks.view import SYSTEM_ROLES, View

KNOWN_ROLES = frozenset((*SYSTEM_ROLES, "user", "assistant", "tool"))


@dataclass(frozen=True, slots=True)
class Structure:
    """Checks roles, their order, empty turns, and that results of tools follow calls."""

    name: ClassVar[str] = "structure"
    finds: ClassVar[str] = "roles, their order, empty turns, results of tools"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("empty_turn", "fault", "a turn has no text and calls no tool", "Fill or drop it."),
        Rule(
            "last_not_assistant",
            "fault",
            "the last turn is not the assistant's, so what comes after the last answer is no use",
            "Cut the conversation after its last answer.",
        ),
        Rule(
            "no_user",
            "fault",
            "no message comes before the first answer but a system prompt",
            "Give the answer its question, or drop the record.",
        ),
        Rule(
            "assistant_first",
            "attention",
            "the assistant speaks first; several templates refuse that",
            "Drop the greeting, or try the template with `danlu explain`.",
        ),
        Rule(
            "system_not_first",
            "fault",
            "a system prompt stands behind other turns; most templates refuse or move it",
            "Move it to the front, or split the conversation there.",
        ),
        Rule(
            "same_role_twice",
            "fault",
            "two turns of one role follow each other",
            "Join them into one, or find the turn that was lost between them.",
        ),
        Rule(
            "result_without_call",
            "fault",
            "a tool's result follows no call, or bears another call's id",
            "Restore the call, or drop the record.",
        ),
        Rule(
            "call_without_result",
            "fault",
            "a call of a tool is followed by something other than its result",
            "Restore the result, or cut the conversation after the call.",
        ),
        Rule(
            "unusual_role",
            "attention",
            "a role is none of system, developer, user, assistant, tool",
            "Rename it, or make sure with `danlu explain` that the template shows it.",
        ),
        Rule(
            "template_refuses",
            "fault",
            "the chat template of the model given cannot render the record",
            "Mend what it says, or choose another template.",
        ),
    )

    def start(self, context: Context) -> Running:
        """Begin; with a template each conversation is rendered too."""
        return PerRecord(self, partial(_look, context.template))


def _look(template: ChatTemplate | None, view: View) -> Iterator[Hit] | None:
    if view.record.is_text:
        return None
    return _hits(view.record, template)


def _hits(record: Record, template: ChatTemplate | None) -> Iterator[Hit]:
    messages = record.messages
    before: Message | None = None
    for number, message in enumerate(messages, start=1):
        role = message.role
        place = f"message {number} ({role})"
        if not (message.content and not message.content.isspace()) and _is_empty(message):
            yield Hit("empty_turn", detail=place)
        if role in SYSTEM_ROLES:
            if before is not None and before.role not in SYSTEM_ROLES:
                yield Hit("system_not_first", number, 1, place)
        elif role == "tool":
            if before is None or (before.role != "tool" and not _calls(before)):
                yield Hit("result_without_call", detail=place)
        else:
            if role not in KNOWN_ROLES:
                yield Hit("unusual_role", role, detail=place)
            if before is not None and before.role == role:
                yield Hit("same_role_twice", role, detail=place)
        if before is not None and role != "tool" and _calls(before):
            yield Hit("call_without_result", detail=place)
        before = message
    if any(message.role == "tool" for message in messages):
        yield from _ids(messages)
    yield from _ends(record)
    if template is not None:
        yield from _rendered(record, template)


def _is_empty(message: Message) -> bool:
    return not any(message.extra.get(name) for name in ("tool_calls", *REASONING_NAMES))


def _calls(message: Message) -> bool:
    return message.role == "assistant" and bool(message.extra.get("tool_calls"))


def _ids(messages: tuple[Message, ...]) -> Iterator[Hit]:
    """Look for results whose ``tool_call_id`` is that of no call before them."""
    known: set[str] = set()
    for number, message in enumerate(messages, start=1):
        for call in message.extra.get("tool_calls") or ():
            if isinstance(call, dict) and call.get("id"):
                known.add(str(call["id"]))
        given = message.extra.get("tool_call_id")
        if message.role == "tool" and given and known and str(given) not in known:
            yield Hit("result_without_call", str(given), detail=f"message {number} (tool)")


def _ends(record: Record) -> Iterator[Hit]:
    messages = record.messages
    spoken = [message.role for message in messages if message.role not in SYSTEM_ROLES]
    if record.responses:
        if spoken and spoken[-1] == "assistant":
            yield Hit("same_role_twice", "assistant", detail="the responses follow an answer")
    elif messages[-1].role != "assistant":
        yield Hit("last_not_assistant", messages[-1].role, "assistant")
    if not spoken or spoken == ["assistant"]:
        yield Hit("no_user", detail="there is nothing but an answer" if spoken else "")
    elif spoken[0] == "assistant":
        yield Hit("assistant_first", "assistant", "user")


def _rendered(record: Record, template: ChatTemplate) -> Iterator[Hit]:
    try:
        template.render([message.as_dict() for message in record.messages], record.tools)
    except TemplateError as error:
        yield Hit("template_refuses", detail=error.message)
