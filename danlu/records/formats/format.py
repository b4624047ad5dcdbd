"""What a file format is, and how its parse takes columns out of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from danlu.errors import RecordError
from danlu.records.json_rows import decode
from danlu.records.record import Message, Response


class Parts(NamedTuple):
    """What a row says, apart from the columns that every format has.

    Attributes:
        messages: The conversation.
        tools: Tool declarations.
        responses: Answers to compare.
        source: Where the record says that it came from; None if it does not say.
        meta: What to keep beside the columns that are left in the row: in Danlu's own format what
            an earlier reading did not know, otherwise what belongs to this record, not to its row.
        id: The record's name, where a row that gives several records names each; None otherwise.
        more: Further records of the same row, as of a tree of replies; theirs is empty.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    responses: tuple[Response, ...] = ()
    source: str | None = None
    meta: Mapping[str, Any] = {}
    id: str | None = None
    more: tuple[Parts, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """One way of writing records in the rows of a file.

    Attributes:
        name: As in ``format:`` of a recipe.
        summary: What it is, in a sentence.
        columns: The columns that it knows, and what they hold; ``id``, ``task_type`` and ``tags``
            are known in every format.
        sample: A row of it.
        recognise: Whether a row looks like this format; for any row true of at most one.
        parse: Takes the columns it knows out of the row. What is left is kept in ``meta``. Raises
            RecordError if the row is broken.
    """

    name: str
    summary: str
    columns: Mapping[str, str]
    sample: Mapping[str, Any]
    recognise: Callable[[Mapping[str, Any]], bool]
    parse: Callable[[dict[str, Any]], Parts]


COMMON_COLUMNS: Mapping[str, str] = {
    "id": "Name of the record; without it, a hash of its content.",
    "task_type": "Task type, area/skill.",
    "tags": "Free marks, a list of strings.",
}
"""Columns that every format knows."""


def take_text(row: dict[str, Any], column: str) -> str:
    """Take a text that must be there.

    Raises:
        RecordError: If it is missing or no text.
    """
    try:
        value = row.pop(column)
    except KeyError:
        raise RecordError(f"the column {column!r} is missing; the row has {names(row)}.") from None
    if not isinstance(value, str):
        raise RecordError(f"{column!r} is {kind(value)}; it must be text.")
    return value


def take_optional_text(row: dict[str, Any], column: str) -> str:
    """Take a text that may be missing, null or empty: then it is empty.

    Raises:
        RecordError: If it is there and no text.
    """
    value = row.pop(column, None)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecordError(f"{column!r} is {kind(value)}; it must be text.")
    return value


def take_list(row: dict[str, Any], column: str) -> list[Any]:
    """Take a list that may be missing, null or empty; tables hold it as JSON text.

    Raises:
        RecordError: If it is something else.

    Example:
        >>> take_list({"history": '[["Hi", "Hello"]]'}, "history")
        [['Hi', 'Hello']]
    """
    value = row.pop(column, None)
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = decode(value)
        except ValueError as error:
            raise RecordError(
                f"{column!r} is text that is not JSON: {error}; it must be a list."
            ) from error
    if not isinstance(value, list):
        raise RecordError(f"{column!r} is {kind(value)}; it must be a list.")
    return value


def looks_like_list(value: Any) -> bool:
    """Whether a column holds a list, or the JSON text of one, as a table does."""
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip()[:1] == "[")


VERDICTS: Mapping[Any, bool] = {
    True: True,  # also 1 and 1.0, as tables write it
    False: False,
    "true": True,
    "false": False,
    "1": True,
    "0": False,
    "up": True,
    "down": False,
}
"""What a ``label`` may say of an answer; texts in small or capital letters."""

ANSWER_COLUMNS = ("responses", "answers", "completions")
"""Columns with several answers to one conversation."""

RANK_NAMES = ("rank",)
SCORE_NAMES = ("score", "rating", "overall_score")
"""Under which the answers of a list say their rank or score."""

MOST_RANK = 1_000_000
"""Beyond this a rank is something else, such as a time."""

RANK_COLUMNS = ("ranks",)
SCORE_COLUMNS = ("scores", "ratings")
"""Columns with the ranks or scores of all answers, in their order."""


def read_verdict(label: Any) -> bool | None:
    """Read thumbs up or down; None if it is neither.

    Example:
        >>> [read_verdict(label) for label in (True, 0, "Up", 3, "neutral")]
        [True, False, True, None, None]
    """
    if isinstance(label, str):
        return VERDICTS.get(label.strip().lower())
    return VERDICTS.get(label) if isinstance(label, bool | int | float) else None


def has_verdict(row: Mapping[str, Any]) -> bool:
    """Whether a row says which answer is good: its answers are to be compared, not to be learned.

    Example:
        >>> has_verdict({"prompt": "Hi", "completion": "Go away.", "label": False})
        True
    """
    if "chosen" in row and "rejected" in row:
        return True
    if "label" in row and read_verdict(row["label"]) is not None and ends_in_answer(row):
        return True
    return ranked_column(row) is not None


def ends_in_answer(row: Mapping[str, Any]) -> bool:
    """Whether a row's conversation is not known to end in something else than an answer.

    A label on anything else is no verdict: it is the class of a text, for a classifier.

    Example:
        >>> ends_in_answer({"messages": [{"role": "user", "content": "Is it open today?"}]})
        False
    """
    for column in ("messages", "conversations"):
        turns = row.get(column)
        if isinstance(turns, str):
            try:
                turns = decode(turns)
            except ValueError:
                return True  # Whoever reads the column says what is wrong with it.
        if isinstance(turns, list) and turns and isinstance(turns[-1], Mapping):
            last = turns[-1]
            return last.get("role", last.get("from")) in ("assistant", "gpt", "chatgpt")
    return True


def ranked_column(row: Mapping[str, Any]) -> str | None:
    """Name the column with several answers of which the row says how good each is.

    Danlu's own ``messages`` and ``responses`` are not meant. A list of bare texts says nothing: it
    may as well hold several right answers to a test question.

    Example:
        >>> ranked_column({"prompt": "Hi", "answers": [{"answer": "Hello", "rank": 1}]})
        'answers'
    """
    for column in ANSWER_COLUMNS:
        if column not in row or (column == "responses" and "messages" in row):
            continue
        answers = row[column]
        if isinstance(answers, str) and looks_like_list(answers):
            try:
                answers = decode(answers)
            except ValueError:
                continue
        if not isinstance(answers, list) or not answers:
            continue
        if any(looks_like_list(row.get(name)) for name in (*RANK_COLUMNS, *SCORE_COLUMNS)):
            return column
        objects = (answer for answer in answers if isinstance(answer, Mapping))
        known = (*RANK_NAMES, *SCORE_NAMES)
        if any(answer.get(name) is not None for answer in objects for name in known):
            return column
    return None


def kind(value: Any) -> str:
    """Name the kind of a JSON value for an error message.

    Example:
        >>> kind([1]), kind(None), kind(2.5)
        ('a list', 'null', 'a number')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kinds, name in (((int, float), "a number"), (str, "text"), (list, "a list")):
        if isinstance(value, kinds):
            return name
    return "an object" if isinstance(value, Mapping) else type(value).__name__


def names(row: Mapping[str, Any]) -> str:
    """List the columns of a row for an error message.

    Example:
        >>> names({"question": "1 + 1?", "answer": "2"})
        "columns 'question', 'answer'"
    """
    return f"columns {', '.join(map(repr, row))}" if row else "no other columns"
