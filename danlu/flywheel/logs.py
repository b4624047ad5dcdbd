"""Rows of chat logs, of whatever kind, as turns and votes.

A row of a foreign log is asked for parts: ``messages`` or ``prompt`` and ``answer``, ``session``,
``vote`` and so on. Each part has the places where such logs usually hold it; ``columns`` of the
config names another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from danlu.errors import RecordError
from danlu.flywheel.config import LogSection
from danlu.records import Message, content_id
from danlu.records.capture import Feedback, Turn, Vote, check_turn, read_capture
from danlu.records.formats.messages import read_messages
from danlu.records.lines import message_row

OPENAI: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "request_id", "response.id", "response.body.id", "custom_id"),
    "time": ("time", "timestamp", "created_at", "startTime", "response.created",
             "response.body.created", "created"),
    "session": ("session_id", "session", "conversation_id", "metadata.session_id",
                "request.metadata.session_id", "request.metadata.conversation_id"),
    "model": ("response.model", "response.body.model", "request.model", "request.body.model",
              "model"),
    "adapter": ("adapter",),
    "data_version": ("data_version",),
    "task_type": ("task_type", "metadata.task_type", "request.metadata.task_type"),
    "messages": ("request.messages", "request.body.messages", "body.messages", "input.messages",
                 "messages", "input"),
    "answer": ("response.choices.0.message", "response.body.choices.0.message",
               "output.choices.0.message", "choices.0.message", "output", "response"),
    "tools": ("request.tools", "request.body.tools", "body.tools"),
    "voter": ("voter", "feedback.user", "user", "user_id", "request.user", "request.body.user"),
    "vote": ("vote", "feedback.vote", "feedback.score", "feedback.rating", "feedback", "rating",
             "thumb", "score"),
    "comment": ("comment", "feedback.comment", "feedback.text"),
    "corrected": ("corrected", "correction", "feedback.corrected", "feedback.correction",
                  "expected"),
}  # fmt: skip
CSV: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "编号"),
    "time": ("time", "timestamp", "created_at", "date", "时间", "日期"),
    "session": ("session", "session_id", "conversation_id", "conversation", "会话", "会话编号"),
    "model": ("model", "模型"),
    "adapter": ("adapter",),
    "data_version": ("data_version",),
    "task_type": ("task_type", "类型"),
    "system": ("system", "system_prompt"),
    "messages": ("messages",),
    "prompt": ("prompt", "question", "user", "input", "query", "问题", "提问", "输入"),
    "answer": ("answer", "response", "assistant", "output", "reply", "回答", "回复", "输出"),
    "voter": ("voter", "user_id", "rater", "用户", "评价人", "投票人"),
    "vote": ("vote", "rating", "feedback", "thumb", "thumbs", "评价", "投票"),
    "comment": ("comment", "reason", "评论", "原因", "意见"),
    "corrected": ("corrected", "correction", "expected", "better", "正确回答", "改正", "修改后"),
}
"""Where a part is looked for, in this order."""

_UP = """
true 1 +1 1.0 up good like liked thumbs_up thumbsup positive yes helpful
👍 赞 点赞 好 好评 有用 有帮助 满意 是
"""
_DOWN = """
false -1 -1.0 down bad dislike disliked thumbs_down thumbsdown negative no unhelpful
👎 踩 点踩 差 差评 没用 没有帮助 不满意 否
"""
UP, DOWN = frozenset(_UP.split()), frozenset(_DOWN.split())
"""What votes are usually called. 0 is neither: to some it is a thumb down, to others no vote."""
MILLISECONDS = 10_000_000_000
"""Numbers of seconds above this, in the year 2286, are milliseconds."""


@dataclass(frozen=True, slots=True)
class Read:
    """What one row of a log says.

    Attributes:
        entry: A turn, or a vote on one.
        alone: Whether the turn holds its own question only, and what was said before stands in
            other rows of its session.
        unread_vote: What a vote said that is neither up nor down.
    """

    entry: Turn | Feedback
    alone: bool = False
    unread_vote: str = ""


Reader = Callable[[Mapping[str, Any]], Read]


def reader_of(source: LogSection) -> Reader:
    """Return what reads the rows of a source.

    The reader raises ``RecordError`` for a row that is no turn.
    """
    if source.format == "danlu":
        return lambda row: Read(read_capture(row))
    return _Foreign(source)


class _Foreign:
    """Reads rows of other programs' logs."""

    def __init__(self, source: LogSection) -> None:
        usual = OPENAI if source.format == "openai" else CSV
        self._is_csv = source.format == "csv"
        self._places = {part: list(places) for part, places in usual.items()}
        for part, place in source.columns.items():
            self._places[part] = [place]
        self._up = UP | {one.casefold().strip() for one in source.up}
        self._down = (DOWN | {one.casefold().strip() for one in source.down}) - {
            one.casefold().strip() for one in source.up
        }
        self._up -= {one.casefold().strip() for one in source.down}

    def __call__(self, row: Mapping[str, Any]) -> Read:
        messages, alone = self._messages(row)
        vote, unread = self._vote(row)
        time, session = read_time(self._part(row, "time")), self._text(row, "session")
        # Numbers begin anew in each file of some programs: an id alone would hide a turn.
        rows = [message_row(message) for message in messages]
        name = content_id([self._text(row, "id"), session, time, rows])
        turn = Turn(
            id=name,
            messages=messages,
            time=time,
            session=session,
            model=self._text(row, "model"),
            adapter=self._text(row, "adapter"),
            data_version=self._text(row, "data_version"),
            task_type=self._text(row, "task_type"),
            tools=tuple(self._list(row, "tools")),
            votes=(vote,) if vote else (),
        )
        check_turn(turn)
        return Read(turn, alone, unread)

    def _messages(self, row: Mapping[str, Any]) -> tuple[tuple[Message, ...], bool]:
        """Return the conversation with its answer, and whether the row holds one question only."""
        answer = self._part(row, "answer")
        given = self._list(row, "messages")
        if given:
            before = list(read_messages(given))
            if answer is None and before[-1].role != "assistant":
                raise RecordError("the conversation has no answer.")
            found = before if answer is None else [*before, _answer(answer)]
            alone = False
        else:
            prompt = self._part(row, "prompt")
            if not isinstance(prompt, str) or not prompt.strip() or answer is None:
                wanted = " or ".join(self._places.get("prompt", ["messages"]))
                raise RecordError(
                    f"the row has no question ({wanted}) or no answer; columns says where they "
                    f"are. It has: {', '.join(row)}."
                )
            found, alone = [Message("user", prompt), _answer(answer)], True
        system = self._text(row, "system")
        if system and found[0].role != "system":
            found.insert(0, Message("system", system))
        return tuple(found), alone

    def _vote(self, row: Mapping[str, Any]) -> tuple[Vote | None, str]:
        """Return what was voted, and what a vote said that could not be read."""
        value = self._part(row, "vote")
        said = "" if isinstance(value, Mapping | list) else str(value or "").casefold().strip()
        said = said if value != 0 or isinstance(value, bool) else "0"
        if isinstance(value, bool):
            said = str(value).casefold()
        up = True if said in self._up else False if said in self._down else None
        text, corrected = self._text(row, "comment"), self._text(row, "corrected")
        unread = said if said and up is None else ""
        if up is None and not text and not corrected:
            return None, unread
        return Vote(self._text(row, "voter"), up, "", text, corrected), unread

    def _part(self, row: Mapping[str, Any], part: str) -> Any:
        for place in self._places.get(part, ()):
            value = row.get(place) if self._is_csv else _at(row, place)
            if value is not None and value != "":
                return value
        return None

    def _text(self, row: Mapping[str, Any], part: str) -> str:
        value = self._part(row, part)
        if value is None or isinstance(value, Mapping | list):
            return ""
        return str(value).strip()

    def _list(self, row: Mapping[str, Any], part: str) -> Sequence[Any]:
        value = self._part(row, part)
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = _parsed(value)
        return value if isinstance(value, list) else []


def read_time(value: Any) -> str:
    """Return a time as captures have it: ISO 8601 in UTC, milliseconds; empty if it is none.

    Example:
        >>> read_time("2026-11-21 22:00:00"), read_time("2026-11-22T06:00:00+08:00")
        ('2026-11-21T22:00:00.000Z', '2026-11-21T22:00:00.000Z')
        >>> read_time(1795298400), read_time("1795298400000"), read_time("soon")
        ('2026-11-21T22:00:00.000Z', '2026-11-21T22:00:00.000Z', '')
    """
    try:
        seconds = float(value)
        seconds = seconds / 1000 if seconds > MILLISECONDS else seconds
        found = datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        try:
            found = datetime.fromisoformat(str(value).strip().replace("/", "-"))
        except ValueError:
            return ""
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _at(row: Any, place: str) -> Any:
    """Follow a path such as ``response.choices.0.message``; texts on the way may be JSON."""
    here = row
    if isinstance(row, Mapping) and place in row:
        return row[place]
    for name in place.split("."):
        if isinstance(here, str) and here.lstrip()[:1] in ("{", "["):
            here = _parsed(here)
        if isinstance(here, Mapping):
            here = here.get(name)
        elif isinstance(here, list) and name.isdecimal() and int(name) < len(here):
            here = here[int(name)]
        else:
            return None
    return here


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _answer(value: Any) -> Message:
    """Return an answer that is text, a message, or a whole response.

    Raises:
        RecordError: If it is none of these.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        parsed = _parsed(value)
        value = (
            parsed if isinstance(parsed, Mapping) and parsed.get("role") == "assistant" else value
        )
    if isinstance(value, str):
        if not value.strip():
            raise RecordError("the answer is empty.")
        return Message("assistant", value)
    if isinstance(value, Mapping) and ("content" in value or "tool_calls" in value):
        return read_messages([{"role": "assistant", **value}])[0]
    raise RecordError("the response holds no answer; a stream or an error was logged, perhaps.")
