"""The file formats, one module each: how a row is recognised, and how it becomes a record.

To add one: its module, its test, and one line in ``FORMATS``. Never here: opening files (that is in
``danlu.records.files``), or what a chat template does with a role.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.errors import RecordError, did_you_mean
from danlu.records.formats.alpaca import ALPACA
from danlu.records.formats.chatml import CHATML
from danlu.records.formats.danlu import DANLU
from danlu.records.formats.format import ANSWER_COLUMNS, COMMON_COLUMNS, Format, Parts, names
from danlu.records.formats.labelled import LABELLED
from danlu.records.formats.oasst import OASST
from danlu.records.formats.openai import OPENAI
from danlu.records.formats.preference import PREFERENCE
from danlu.records.formats.prompt_completion import PROMPT_COMPLETION
from danlu.records.formats.question_answer import QUESTION_ANSWER
from danlu.records.formats.ranked import RANKED
from danlu.records.formats.sharegpt import SHAREGPT
from danlu.records.formats.shp import SHP
from danlu.records.formats.text import TEXT

__all__ = ["AUTO", "FORMATS", "Format", "Parts", "by_name", "check_columns", "recognise"]

AUTO = "auto"

FORMATS: tuple[Format, ...] = (
    DANLU,
    OPENAI,
    SHAREGPT,
    ALPACA,
    PROMPT_COMPLETION,
    QUESTION_ANSWER,
    PREFERENCE,
    LABELLED,
    RANKED,
    OASST,
    SHP,
    CHATML,
    TEXT,
)

_OF_ONE_TEXT = (CHATML, TEXT)
"""A ``text`` beside the columns of another format is that row rendered, so these give way."""


def by_name(name: str) -> Format | None:
    """Find a format; None for ``auto``.

    Raises:
        RecordError: If there is none of that name.
    """
    for known in FORMATS:
        if known.name == name:
            return known
    if name == AUTO:
        return None
    hint = did_you_mean(name, [AUTO, *(known.name for known in FORMATS)])
    raise RecordError(f"there is no format {name!r}.{hint}")


def check_columns(columns: Mapping[str, str], chosen: Format | None) -> None:
    """Check that a mapping of columns names only parts that exist.

    Raises:
        RecordError: If one does not.

    Example:
        >>> check_columns({"question": "题目"}, None)
    """
    parts = set(COMMON_COLUMNS)
    for known in FORMATS if chosen is None else [chosen]:
        parts |= known.columns.keys()
    for part in columns:
        if part not in parts:
            raise RecordError(
                f"columns maps {part!r}, which is no part.{did_you_mean(part, parts)}"
            )


def recognise(row: Mapping[str, Any]) -> Format:
    """Find the one format that a row has.

    Raises:
        RecordError: If none fits, or more than one.

    Example:
        >>> recognise({"prompt": "1 + 1 =", "completion": "2"}).name
        'prompt_completion'
    """
    fitting = [known for known in FORMATS if known.recognise(row)]
    if len(fitting) > 1:
        fitting = [known for known in fitting if known not in _OF_ONE_TEXT]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        found = " and ".join(known.name for known in fitting)
        raise RecordError(
            f"the row could be {found}: it has {names(row)}. Name one with format: "
            f"{fitting[0].name}."
        )
    known = ", ".join(known.name for known in FORMATS)
    raise RecordError(
        f"no format is recognised: the row has {names(row)}.{_inside(row)} Known are {known} (see "
        "`danlu formats`). Say which column plays which part, as in columns: {prompt: question, "
        "completion: answer}, or name a format with format:."
    )


def _inside(row: Mapping[str, Any]) -> str:
    """Return a hint where answers have no ranks, or rows lie one level deeper."""
    for name in ANSWER_COLUMNS:
        if isinstance(row.get(name), list):
            return f" If {name!r} holds answers to compare, the best first, name format: ranked."
    for name, value in row.items():
        if len(row) <= 3 and isinstance(value, list) and value and isinstance(value[0], dict):
            return f" If {name!r} holds the rows, save that list as a file of its own."
    return ""
