"""Preference pairs: a conversation with a chosen and a rejected answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.alpaca import take_question
from danlu.records.formats.danlu import read_score
from danlu.records.formats.format import Format, Parts, kind, names, take_list, take_text
from danlu.records.formats.messages import read_messages, take_system, take_tools
from danlu.records.formats.prompt_completion import take_side
from danlu.records.formats.sharegpt import read_turn
from danlu.records.formats.transcript import is_transcript, read_transcript
from danlu.records.record import Message, Response


def recognise(row: Mapping[str, Any]) -> bool:
    """A chosen and a rejected answer."""
    return "chosen" in row and "rejected" in row


def parse(row: dict[str, Any]) -> Parts:
    """Take the two answers, and the conversation before them.

    Raises:
        RecordError: If one of them is broken, or there is no conversation.
    """
    history, chosen = _take_answer(row, "chosen")
    other_history, rejected = _take_answer(row, "rejected")
    if history != other_history:
        raise RecordError(_parting(history, other_history))
    messages = take_system(row, history or take_conversation(row, "'chosen' and 'rejected'"))
    responses = (
        Response(chosen, 1, read_score(row.pop("score_chosen", None), "'chosen'")),
        Response(rejected, 2, read_score(row.pop("score_rejected", None), "'rejected'")),
    )
    return Parts(messages, take_tools(row), responses)


def _take_answer(row: dict[str, Any], column: str) -> tuple[tuple[Message, ...], str]:
    """Take an answer: a text, a message, or a whole conversation that ends in it."""
    value = row.pop(column, None)
    if isinstance(value, str):
        if not is_transcript(value):
            return (), value
        return _split_transcript(value, column)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        raise RecordError(f"{column!r} is {kind(value)}; it must be text or messages.")
    messages = tuple([read_turn(turn, number) for number, turn in enumerate(value, start=1)])
    answer = messages[-1].content
    if answer is None or messages[-1].role != "assistant":
        raise RecordError(f"{column!r} must end in an assistant's message with text.")
    if len(messages) > 1 and messages[0].role == "assistant":
        raise RecordError(f"{column!r} has {len(messages)} messages; an answer is one message.")
    return messages[:-1], answer


def _split_transcript(text: str, column: str) -> tuple[tuple[Message, ...], str]:
    """Return the conversation before the last answer of a transcript, and that answer."""
    *history, answer = read_transcript(text)
    if answer.role != "assistant":
        raise RecordError(f"the transcript in {column!r} must end in an Assistant's turn.")
    return tuple(history), answer.content or ""


def _parting(history: Sequence[Message], other: Sequence[Message]) -> str:
    """Say where two conversations before the answers part."""
    pairs = enumerate(zip(history, other, strict=False))
    same = next((k for k, (a, b) in pairs if a != b), min(len(history), len(other)))
    return (
        "'chosen' and 'rejected' do not answer the same conversation: they share "
        f"{same} of {len(history)} and {len(other)} messages before the answers. Pairs must part "
        "in the last answer alone: cut both at the first that differs, or pass such rows over "
        "with data.on_bad_record: skip."
    )


def _without_open_turn(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Take away the Assistant's mark at the end of a prompt, which only asks for the answer."""
    is_open = messages[-1].role == "assistant" and not messages[-1].content
    return messages[:-1] if is_open else messages


def take_conversation(row: dict[str, Any], before: str) -> tuple[Message, ...]:
    """Take what several answers reply to, from whichever column has it.

    Args:
        row: What is left of the row.
        before: Where the answers are, for the error message.

    Raises:
        RecordError: If it is broken, or no column has it.
    """
    if "conversations" in row:
        turns = take_list(row, "conversations")
        return tuple([read_turn(turn, number) for number, turn in enumerate(turns, start=1)])
    if "messages" in row:
        return read_messages(take_list(row, "messages"))
    if "instruction" in row:
        return take_question(row)
    if "prompt" in row:
        if isinstance(row["prompt"], str) and is_transcript(row["prompt"]):
            return _without_open_turn(read_transcript(row.pop("prompt")))
        return take_side(row, "prompt", "user")
    if "question" in row:
        return (Message("user", take_text(row, "question")),)
    raise RecordError(
        f"there is no conversation before {before}; the row has {names(row)}. Say where it is with "
        "columns: {prompt: ...}."
    )


PREFERENCE = Format(
    name="preference",
    summary="A conversation with a chosen and a rejected answer, read into responses.",
    columns={
        "chosen": "The better answer: text, a message, or the whole conversation as messages or as "
        "a transcript (Human: ... Assistant: ...).",
        "rejected": "The worse answer.",
        "score_chosen": "Rating of the better answer.",
        "score_rejected": "Rating of the worse answer.",
        "prompt": "The conversation: text, a transcript or messages.",
        "conversations": "The conversation, as in sharegpt.",
        "messages": "The conversation, as in openai.",
        "instruction": "The question, as in alpaca, with input and history.",
        "input": "What the instruction is about.",
        "history": "Earlier rounds, as in alpaca.",
        "question": "The question.",
        "system": "A system message to put first.",
        "tools": "Tool declarations.",
        "functions": "The older name of tools.",
    },
    sample={
        "prompt": "My tea went cold.",
        "chosen": "Shall I warm it up for you?",
        "rejected": "That is what tea does.",
    },
    recognise=recognise,
    parse=parse,
)
