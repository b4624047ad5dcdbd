"""Ranked lists: a conversation with several answers, each with its rank or score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from danlu.errors import RecordError
from danlu.records.formats.danlu import read_score
from danlu.records.formats.format import (
    ANSWER_COLUMNS,
    MOST_RANK,
    RANK_COLUMNS,
    RANK_NAMES,
    SCORE_COLUMNS,
    SCORE_NAMES,
    Format,
    Parts,
    kind,
    names,
    ranked_column,
    take_list,
)
from danlu.records.formats.messages import take_system, take_tools
from danlu.records.formats.preference import take_conversation
from danlu.records.record import Response

TEXT_NAMES = ("content", "text", "answer", "response", "completion", "output")
"""Under which an answer that is an object has its text."""


class _Answer(NamedTuple):
    """One answer of a list.

    Attributes:
        content: Its text.
        rank: As it stands in the data; None if there is none.
        score: As it stands in the data; None if there is none.
        rest: What else it says.
    """

    content: str
    rank: Any
    score: Any
    rest: Mapping[str, Any]


def recognise(row: Mapping[str, Any]) -> bool:
    """A list of answers with ranks or scores, and neither chosen nor rejected."""
    return ranked_column(row) is not None and not ("chosen" in row and "rejected" in row)


def parse(row: dict[str, Any]) -> Parts:
    """Take the answers, and the conversation before them.

    Answers without ranks and scores are taken to stand best first. What an answer says besides is
    kept in ``meta``, in a list as long.

    Raises:
        RecordError: If one of them is broken, there are fewer than two answers, only some have a
            rank, or there are ranks or scores and all of them are null.
    """
    said = ranked_column(row)
    column = said or next((name for name in ANSWER_COLUMNS if name in row), None)
    if column is None:
        raise RecordError(
            f"there is no list of answers; the row has {names(row)}. Say where it is with "
            "columns: {answers: ...}."
        )
    answers = [_read(item, number) for number, item in enumerate(take_list(row, column), start=1)]
    if len(answers) < 2:
        raise RecordError(
            f"{column!r} holds {len(answers)} answers; to compare needs at least 2. Pass such rows "
            "over with data.on_bad_record: skip."
        )
    ranks = _take_aligned(row, RANK_COLUMNS, [answer.rank for answer in answers], "rank")
    scores = _take_aligned(row, SCORE_COLUMNS, [answer.score for answer in answers], "score")
    if all(value is None for value in (*ranks, *scores)):
        if said:
            raise RecordError(
                f"the ranks and scores of {column!r} are all null. Pass such rows over with "
                "data.on_bad_record: skip."
            )
        ranks = list(range(1, len(answers) + 1))
    responses = tuple(
        [
            Response(answer.content, rank, read_score(score, f"answer {number}"))
            for number, (answer, rank, score) in enumerate(
                zip(answers, _ranks(ranks), scores, strict=True), start=1
            )
        ]
    )
    messages = take_system(row, take_conversation(row, repr(column)))
    if any(answer.rest for answer in answers):
        row[column] = [dict(answer.rest) for answer in answers]
    return Parts(messages, take_tools(row), responses)


def _read(item: Any, number: int) -> _Answer:
    """Read one answer: a text, or an object with its text and what is thought of it."""
    if isinstance(item, str):
        return _Answer(item, None, None, {})
    if not isinstance(item, Mapping):
        raise RecordError(f"answer {number} is {kind(item)}; it must be text or an object.")
    rest = {name: value for name, value in item.items() if value is not None}
    rank, score = (_take_first(rest, known) for known in (RANK_NAMES, SCORE_NAMES))
    content = _take_first(rest, TEXT_NAMES)
    if not isinstance(content, str):
        raise RecordError(
            f"answer {number} has no text; it must be under one of {', '.join(TEXT_NAMES)}."
        )
    if rest.get("role") == "assistant":
        del rest["role"]
    return _Answer(content, rank, score, rest)


def _take_first(values: dict[str, Any], known: Sequence[str]) -> Any:
    """Take the first of several names that is there; None if none is."""
    return next((values.pop(name) for name in known if name in values), None)


def _take_aligned(
    row: dict[str, Any], columns: Sequence[str], inside: list[Any], what: str
) -> list[Any]:
    """Take ranks or scores that stand in a column of their own, else those inside the answers."""
    column = next((name for name in columns if name in row), None)
    if column is None:
        return inside
    if any(value is not None for value in inside):
        raise RecordError(f"the answers have a {what} each, and there is {column!r}; leave one.")
    values = take_list(row, column)
    if len(values) != len(inside):
        raise RecordError(f"{column!r} has {len(values)} entries for {len(inside)} answers.")
    return values


def _ranks(values: Sequence[Any]) -> list[int | None]:
    """Return ranks of which 1 is the best; lists that begin with 0 are raised by one."""
    if all(value is None for value in values):
        return [None] * len(values)
    ranks = [_whole(value, number) for number, value in enumerate(values, start=1)]
    return [rank + (min(ranks) == 0) for rank in ranks]


def _whole(value: Any, number: int) -> int:
    """Read a rank; tables write whole numbers as 1.0."""
    if value is None:
        raise RecordError(f"answer {number} has no rank and others have; rank all or none.")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value != value // 1 or not 0 <= value <= MOST_RANK:
        raise RecordError(f"the rank of answer {number} is {value!r}; it must be 1, 2, 3 ...")
    return int(value)


RANKED = Format(
    name="ranked",
    summary="A conversation with a list of answers and their ranks or scores, read into responses; "
    "where it is named, also bare texts, the best first.",
    columns={
        "answers": "Objects with a text and a rank (1 or 0 is the best) or score, or bare texts.",
        "responses": "The same, where there are no answers.",
        "completions": "The same.",
        "ranks": "The ranks of all answers, where they stand apart.",
        "scores": "The scores of all answers, where they stand apart; a higher one is better.",
        "ratings": "The same.",
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
        "prompt": "Why is the sky dark at night?",
        "answers": [
            {"text": "Because our side of the Earth faces away from the sun.", "rank": 1},
            {"text": "Because the sun is off.", "rank": 2},
        ],
    },
    recognise=recognise,
    parse=parse,
)
