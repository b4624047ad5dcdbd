"""Single answers with a verdict, thumbs up or down, around any of the usual formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError
from danlu.records.formats.alpaca import ALPACA
from danlu.records.formats.danlu import DANLU
from danlu.records.formats.format import Format, Parts, kind, names
from danlu.records.formats.openai import OPENAI
from danlu.records.formats.prompt_completion import PROMPT_COMPLETION
from danlu.records.formats.question_answer import QUESTION_ANSWER
from danlu.records.formats.sharegpt import SHAREGPT
from danlu.records.record import Response

_INNER = (DANLU, OPENAI, SHAREGPT, ALPACA, PROMPT_COMPLETION, QUESTION_ANSWER)


def recognise(row: Mapping[str, Any]) -> bool:
    """A label that is true or false, beside a row of another format."""
    return isinstance(row.get("label"), bool) and _inner(row) is not None


def parse(row: dict[str, Any]) -> Parts:
    """Take the label, and of the rest the last answer as that which is judged.

    Raises:
        RecordError: If one of them is broken.
    """
    label = row.pop("label", None)
    if not isinstance(label, bool):
        raise RecordError(f"'label' is {kind(label)}; it must be true or false.")
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
    columns={"label": "Whether the last answer is good."}
    | {name: meaning for inner in _INNER for name, meaning in inner.columns.items()},
    sample={"prompt": "Is this seat taken?", "completion": "Obviously.", "label": False},
    recognise=recognise,
    parse=parse,
)
