"""Single answers with a verdict, thumbs up or down, around any of the usual formats.

A label 1 or 0 may also be a class. It is taken for a verdict where the row ends in an answer: were
it not, answers that people disliked would be learned in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.alpaca import ALPACA
from danlu.records.formats.danlu import DANLU
from danlu.records.formats.format import (
    Format,
    Parts,
    ends_in_answer,
    kind,
    names,
    read_verdict,
)
from danlu.records.formats.openai import OPENAI
from danlu.records.formats.prompt_completion import PROMPT_COMPLETION
from danlu.records.formats.question_answer import QUESTION_ANSWER
from danlu.records.formats.sharegpt import SHAREGPT
from danlu.records.record import Response

_INNER = (DANLU, OPENAI, SHAREGPT, ALPACA, PROMPT_COMPLETION, QUESTION_ANSWER)


def recognise(row: Mapping[str, Any]) -> bool:
    """A label that is a verdict, beside a row of another format that ends in an answer."""
    return (
        "label" in row
        and read_verdict(row["label"]) is not None
        and ends_in_answer(row)
        and _inner(row) is not None
    )


def parse(row: dict[str, Any]) -> Parts:
    """Take the label, and of the rest the last answer as that which is judged.

    Raises:
        RecordError: If one of them is broken.
    """
    given = row.pop("label", None)
    label = read_verdict(given)
    if label is None:
        told = repr(given) if isinstance(given, str | int | float) else kind(given)
        raise RecordError(
            f"'label' is {told}; it must be true or false, 1 or 0, or the text up or down."
        )
    inner = _inner(row)
    if inner is None:
        raise RecordError(f"there is no conversation beside 'label'; the row has {names(row)}.")
    parts = inner.parse(row)
    answer = parts.messages[-1] if parts.messages else None
    if answer is None or answer.role != "assistant" or answer.content is None:
        raise RecordError("the conversation must end in an assistant's message with text.")
    return parts._replace(
        messages=parts.messages[:-1], responses=(Response(answer.content, label=label),)
    )


def _inner(row: Mapping[str, Any]) -> Format | None:
    rest = {name: value for name, value in row.items() if name != "label"}
    found = [inner for inner in _INNER if inner.recognise(rest)]
    return found[0] if len(found) == 1 else None


LABELLED = Format(
    name="labelled",
    summary="A conversation whose last answer is judged, true or false; read into responses.",
    columns={"label": "Whether the last answer is good: true or false, 1 or 0, up or down."}
    | {name: meaning for inner in _INNER for name, meaning in inner.columns.items()},
    sample={"prompt": "Is this seat taken?", "completion": "Obviously.", "label": False},
    recognise=recognise,
    parse=parse,
)
