r"""What a service writes down of its conversations: JSON lines, appended and never changed.

``danlu serve --capture`` writes it, ``danlu flywheel`` reads it. There are two kinds of lines. A
**turn** is one answer with the whole conversation before it, as the model was shown it:

    {"kind": "turn", "layout": 1, "id": "c81f...", "time": "2026-11-21T22:01:07.120Z",
     "session": "s-7", "model": "danlu-7b", "adapter": "runs/support", "data_version": "v1c0...",
     "task_type": "support/refund", "messages": [..., {"role": "assistant", "content": "..."}],
     "votes": [{"voter": "u-3", "up": false, "time": "...", "text": "wrong", "corrected": "..."}]}

A **feedback** is a vote that came later, on the turn of that id; of one voter the last one counts:

    {"kind": "feedback", "layout": 1, "turn": "c81f...", "vote": {"voter": "u-3", "up": true}}

``adapter``, ``data_version``, ``task_type``, ``tools``, ``votes`` and ``meta`` may be missing, and
of a vote all but one of ``up``, ``text`` and ``corrected``. Whoever writes masks personal data
before (``danlu.workshop.privacy``), and names voters and sessions by pseudonyms that stay
the same: whose votes are inverted can only be told of one who is known again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from danlu.errors import RecordError
from danlu.records.check import check_messages
from danlu.records.formats.format import kind
from danlu.records.formats.messages import read_messages
from danlu.records.lines import message_row
from danlu.records.record import Message
from danlu.records.text_files import append_whole_line

LAYOUT = 1
TURN, FEEDBACK = "turn", "feedback"

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Vote:
    """What one person said of an answer.

    Attributes:
        voter: A pseudonym, always the same for the same person; empty if nobody knows who it was.
        up: Thumbs up or down; None where there is only a text.
        time: When, ISO 8601 in UTC; empty if nobody knows.
        text: What was said.
        corrected: The answer as it should have been; empty if none was given.
    """

    voter: str = ""
    up: bool | None = None
    time: str = ""
    text: str = ""
    corrected: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of a model, with the conversation before it.

    Attributes:
        id: Unique; what feedback refers to.
        messages: The conversation as the model was shown it, and last its answer.
        time: Of the answer, ISO 8601 in UTC; empty if nobody knows.
        session: Which conversation it belongs to; empty if nobody knows.
        model: Which model answered.
        adapter: Which adapter; empty without one.
        data_version: Id of the dataset version that the model was tuned on; empty if none.
        task_type: ``area/skill``, where the service knows it; else empty.
        tools: Tool declarations that the model was shown.
        votes: Those that were there when the line was written.
        meta: What else the writer knows.
    """

    id: str
    messages: tuple[Message, ...]
    time: str = ""
    session: str = ""
    model: str = ""
    adapter: str = ""
    data_version: str = ""
    task_type: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    votes: tuple[Vote, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Feedback:
    """A vote that came after the turn was written.

    Attributes:
        turn: Id of the turn.
        vote: What was said.
    """

    turn: str
    vote: Vote


def now() -> str:
    """Return the time as captures have it, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode_capture(entry: Turn | Feedback) -> bytes:
    """Write a turn or a feedback as one line.

    Raises:
        RecordError: If it is not whole, or holds what JSON has not.

    Example:
        >>> print(encode_capture(Feedback("c1", Vote("u-3", up=False))).decode().rstrip())
        {"kind": "feedback", "layout": 1, "turn": "c1", "vote": {"voter": "u-3", "up": false}}
    """
    row: dict[str, Any]
    if isinstance(entry, Feedback):
        row = {"kind": FEEDBACK, "layout": LAYOUT, "turn": entry.turn, "vote": vote_row(entry.vote)}
    else:
        check_turn(entry)
        row = {"kind": TURN, "layout": LAYOUT, "id": entry.id}
        for name in ("time", "session", "model", "adapter", "data_version", "task_type"):
            if value := getattr(entry, name):
                row[name] = value
        row["messages"] = [message_row(message) for message in entry.messages]
        if entry.tools:
            row["tools"] = list(entry.tools)
        if entry.votes:
            row["votes"] = [vote_row(vote) for vote in entry.votes]
        if entry.meta:
            row["meta"] = dict(entry.meta)
    try:
        return f"{_encode(row)}\n".encode()
    except (TypeError, ValueError) as error:
        raise RecordError(f"the capture holds something that JSON has not: {error}.") from error


def append_capture(path: Path, entry: Turn | Feedback) -> None:
    """Append a line to a file, whole even if several processes append at once.

    Raises:
        RecordError: As ``encode_capture``.
        OSError: If the file cannot be written.
    """
    append_whole_line(path, encode_capture(entry), 0o600)


def read_capture(row: Mapping[str, Any]) -> Turn | Feedback:
    """Read the object of one line.

    Raises:
        RecordError: If it is none, or was written by a later Danlu.

    Example:
        >>> row = {"kind": "feedback", "layout": 1, "turn": "c1", "vote": {"text": "不对"}}
        >>> read_capture(row).vote.text
        '不对'
    """
    if row.get("layout") != LAYOUT:
        raise RecordError(
            f"the line has layout {row.get('layout')!r}, and this Danlu reads {LAYOUT}; read it "
            "with the Danlu that wrote it."
        )
    if row.get("kind") == FEEDBACK:
        return Feedback(_text(row, "turn", required=True), read_vote(row.get("vote")))
    if row.get("kind") != TURN:
        raise RecordError(f"'kind' is {row.get('kind')!r}; it must be {TURN} or {FEEDBACK}.")
    turn = Turn(
        _text(row, "id", required=True),
        read_messages(_list(row, "messages")),
        time=_text(row, "time"),
        session=_text(row, "session"),
        model=_text(row, "model"),
        adapter=_text(row, "adapter"),
        data_version=_text(row, "data_version"),
        task_type=_text(row, "task_type"),
        tools=tuple(_list(row, "tools")),
        votes=tuple(read_vote(one) for one in _list(row, "votes")),
        meta=row.get("meta") or {},
    )
    check_turn(turn)
    return turn


def check_turn(turn: Turn) -> None:
    """Check that a turn asks something and is answered.

    Raises:
        RecordError: If not.
    """
    check_messages(turn.messages)
    if not turn.id:
        raise RecordError("the turn has no id.")
    if turn.messages[-1].role != "assistant":
        raise RecordError("the turn does not end with an answer of the assistant.")
    if not any(message.role == "user" for message in turn.messages):
        raise RecordError("the turn has no message of the user.")


def vote_row(vote: Vote) -> dict[str, Any]:
    """Return a vote as JSON has it; what says nothing is left out."""
    row = {"voter": vote.voter, "up": vote.up, "time": vote.time}
    row |= {"text": vote.text, "corrected": vote.corrected}
    return {name: value for name, value in row.items() if value not in (None, "")}


def read_vote(row: Any) -> Vote:
    """Read what ``vote_row`` gave.

    Raises:
        RecordError: If it is none, or says nothing.
    """
    if not isinstance(row, Mapping):
        raise RecordError(f"a vote is {kind(row)}; it must be an object.")
    up = row.get("up")
    if up is not None and not isinstance(up, bool):
        raise RecordError(f"'up' of a vote is {up!r}; it must be true or false.")
    texts = [_text(row, name) for name in ("voter", "time", "text", "corrected")]
    vote = Vote(texts[0], up, *texts[1:])
    if up is None and not vote.text and not vote.corrected:
        raise RecordError("a vote says nothing: it has none of up, text and corrected.")
    return vote


def _text(row: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = row.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value):
        raise RecordError(f"{name!r} is {kind(value)}; it must be text.")
    return value


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecordError(f"{name!r} is {kind(value)}; it must be a list.")
    return value
