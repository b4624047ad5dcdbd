"""Two columns of any name, question and answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats import alpaca
from danlu.records.formats.format import Format, Parts, has_verdict, names, take_text
from danlu.records.formats.messages import take_system
from danlu.records.record import Message

PAIRS = (
    ("question", "answer"),
    ("query", "response"),
    ("prompt", "response"),
    ("input", "output"),
    ("问题", "答案"),
    ("问题", "回答"),
    ("问", "答"),
)
"""Names under which questions and answers are often found; others take a mapping."""


def recognise(row: Mapping[str, Any]) -> bool:
    """One of the usual pairs of names, both text."""
    return bool(_pairs(row)) and not has_verdict(row) and not alpaca.recognise(row)


def parse(row: dict[str, Any]) -> Parts:
    """Take question, answer and system.

    Raises:
        RecordError: If one of them is broken, or more than one pair fits.
    """
    pairs = _pairs(row)
    if len(pairs) > 1:
        found = ", ".join(f"{question}/{answer}" for question, answer in pairs)
        raise RecordError(
            f"the row has more than one question and answer ({found}). Say which with columns: "
            "{prompt: ..., completion: ...}."
        )
    if not pairs and not {"question", "answer"} & row.keys():
        raise RecordError(
            f"the row has {names(row)}; say which is which with columns: "
            "{question: ..., answer: ...}."
        )
    question, answer = pairs[0] if pairs else ("question", "answer")
    messages = (
        Message("user", take_text(row, question)),
        Message("assistant", take_text(row, answer)),
    )
    return Parts(take_system(row, messages))


def _pairs(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (question, answer)
        for question, answer in PAIRS
        if isinstance(row.get(question), str) and isinstance(row.get(answer), str)
    ]


QUESTION_ANSWER = Format(
    name="question_answer",
    summary="A question and its answer in two columns; of any name, with a mapping in the recipe.",
    columns={
        "question": "What is asked; also query, prompt, input, 问题, 问.",
        "answer": "The answer; also response, output, 答案, 回答, 答.",
        "system": "A system message to put first.",
    },
    sample={"question": "水的化学式是什么？", "answer": "H₂O。"},
    recognise=recognise,
    parse=parse,
)
