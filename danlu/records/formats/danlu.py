"""Danlu's own format: a record as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.format import (
    MOST_RANK,
    Format,
    Parts,
    has_verdict,
    kind,
    looks_like_list,
    take_list,
)
from danlu.records.formats.messages import read_messages, take_system, take_tools
from danlu.records.json_rows import decode
from danlu.records.record import Response

_RESPONSE_NAMES = frozenset({"content", "rank", "score", "label"})


def recognise(row: Mapping[str, Any]) -> bool:
    """Messages, and something that only Danlu writes beside them."""
    return (
        "messages" in row
        and ("task_type" in row or "responses" in row or "tags" in row or "meta" in row)
        and looks_like_list(row["messages"])
        and not has_verdict(row)
    )


def parse(row: dict[str, Any]) -> Parts:
    """Take messages, tools, responses, source and meta.

    Raises:
        RecordError: If one of them is broken.
    """
    messages = take_system(row, read_messages(take_list(row, "messages")))
    source = row.pop("source", None)
    if source is not None and not isinstance(source, str):
        raise RecordError(f"'source' is {kind(source)}; it must be text.")
    meta = row.pop("meta", None)
    if isinstance(meta, str):  # As tables hold it.
        try:
            meta = decode(meta)
        except ValueError as error:
            raise RecordError(f"'meta' is text that is not JSON: {error}.") from error
    if meta is not None and not isinstance(meta, dict):
        raise RecordError(f"'meta' is {kind(meta)}; it must be an object.")
    responses = take_list(row, "responses")
    return Parts(
        messages,
        take_tools(row),
        tuple([read_response(item, number) for number, item in enumerate(responses, start=1)]),
        source,
        meta or {},
    )


def read_response(item: Any, number: int) -> Response:
    """Read one of the answers to compare.

    Raises:
        RecordError: If it is broken.
    """
    if not isinstance(item, dict) or not isinstance(item.get("content"), str):
        hint = " For bare texts, the best first, name format: ranked." * isinstance(item, str)
        raise RecordError(f"response {number} must be an object with a text 'content'.{hint}")
    if unknown := sorted(item.keys() - _RESPONSE_NAMES):
        raise RecordError(
            f"response {number} has {unknown[0]!r}; known are content, rank, score and label."
        )
    rank, score, label = item.get("rank"), item.get("score"), item.get("label")
    is_whole = isinstance(rank, int) and not isinstance(rank, bool)
    if rank is not None and not (is_whole and 1 <= rank <= MOST_RANK):
        raise RecordError(f"'rank' of response {number} is {rank!r}; 1 is the best.")
    if label is not None and not isinstance(label, bool):
        raise RecordError(f"'label' of response {number} is {label!r}; it must be true or false.")
    return Response(item["content"], rank, read_score(score, f"response {number}"), label)


def read_score(score: Any, whose: str) -> float | None:
    """Read a rating; None if there is none.

    Raises:
        RecordError: If it is no finite number.
    """
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise RecordError(f"the score of {whose} is {score!r}; it must be a number.")
    return float(score)


DANLU = Format(
    name="danlu",
    summary="Danlu's own: messages with a task type, and all else that a record has.",
    columns={
        "messages": "The conversation: role, content, and optionally weight, tool_calls ...",
        "tools": "Tool declarations in the OpenAI schema.",
        "responses": "Answers to compare: content with rank, score or label.",
        "source": "Where the record came from; without it, the file.",
        "meta": "Anything else, kept as it is.",
        "system": "A system message to put first.",
    },
    sample={
        "id": "seasons-1",
        "task_type": "knowledge/nature",
        "messages": [
            {"role": "user", "content": "Why do leaves turn yellow?"},
            {"role": "assistant", "content": "Their green chlorophyll breaks down."},
        ],
        "tags": ["checked"],
    },
    recognise=recognise,
    parse=parse,
)
