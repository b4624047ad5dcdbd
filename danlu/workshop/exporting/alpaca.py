"""Alpaca: instruction, output, and the rounds before as history."""

from __future__ import annotations

from typing import Any

from danlu.records import Message, Record
from danlu.workshop.exporting.form import Export, UnfitError, refuse_responses, with_columns


def row(record: Record) -> dict[str, Any]:
    """Make a row; the input, which reading joins to the instruction, is left empty.

    Raises:
        UnfitError: If there is anything but a system prompt and rounds of user and assistant.

    Example:
        >>> messages = (Message("user", "1 + 1?"), Message("assistant", "2"))
        >>> row(Record("7", "math/sums", messages))
        {'id': '7', 'task_type': 'math/sums', 'instruction': '1 + 1?', 'input': '', 'output': '2'}
    """
    refuse_responses(record)
    if record.tools:
        raise UnfitError("tools")
    system, turns = "", list(record.messages)
    if turns[0].role == "system":
        system = _text(turns.pop(0))
        if not system:
            raise UnfitError("an empty system prompt")
    if [turn.role for turn in turns] != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise UnfitError("turns that are not rounds of user and assistant")
    texts = [_text(turn) for turn in turns]
    made: dict[str, Any] = {"instruction": texts[-2], "input": "", "output": texts[-1]}
    if system:
        made["system"] = system
    if len(texts) > 2:
        made["history"] = [[texts[k], texts[k + 1]] for k in range(0, len(texts) - 2, 2)]
    return with_columns(record, made)


def _text(message: Message) -> str:
    if message.weight != 1.0:
        raise UnfitError("a weight of a message")
    if message.extra or message.content is None:
        raise UnfitError("tool calls, names or reasoning beside the text")
    return message.content


ALPACA = Export(name="alpaca", leaves_out=("source",), row=row)
