"""Alpaca: an instruction, optionally with an input, and the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.format import (
    Format,
    Parts,
    has_verdict,
    take_list,
    take_optional_text,
    take_text,
)
from danlu.records.record import Message


def recognise(row: Mapping[str, Any]) -> bool:
    """An instruction and an output, both text."""
    return (
        "instruction" in row
        and "output" in row
        and isinstance(row["instruction"], str)
        and isinstance(row["output"], str)
        and not has_verdict(row)
    )


def parse(row: dict[str, Any]) -> Parts:
    """Take system, history, instruction with input, and output, in this order.

    Raises:
        RecordError: If one of them is broken.
    """
    question = take_question(row)
    answer = Message("assistant", take_text(row, "output"))
    return Parts((*question, answer))


def take_question(row: dict[str, Any]) -> tuple[Message, ...]:
    """Take all that comes before the answer; the input is a paragraph below the instruction.

    Raises:
        RecordError: If a part of it is broken.
    """
    instruction = take_text(row, "instruction")
    given = take_optional_text(row, "input")
    if given:
        instruction = f"{instruction}\n{given}" if instruction else given
    asked = Message("user", instruction)
    if "system" not in row and "history" not in row:
        return (asked,)
    messages = []
    if system := take_optional_text(row, "system"):
        messages.append(Message("system", system))
    for number, pair in enumerate(take_list(row, "history"), start=1):
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(t, str) for t in pair)
        ):
            raise RecordError(
                f"round {number} of 'history' must be a pair of texts, question and answer."
            )
        messages += [Message("user", pair[0]), Message("assistant", pair[1])]
    return (*messages, asked)


ALPACA = Format(
    name="alpaca",
    summary="An instruction, optionally with an input, and the output.",
    columns={
        "instruction": "What is asked.",
        "input": "What it is asked about; a line below the instruction.",
        "output": "The answer.",
        "system": "A system message.",
        "history": "Earlier rounds: a list of [question, answer]; their answers are trained too.",
    },
    sample={
        "instruction": "Translate into Chinese.",
        "input": "Good morning!",
        "output": "早上好！",
    },
    recognise=recognise,
    parse=parse,
)
