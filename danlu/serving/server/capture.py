"""Conversations written down for the flywheel, where the server is told to; personal data masked.

One file a day, ``YYYY-MM-DD.jsonl``, in the form of ``danlu.records.capture``; files older than
they are to be kept are removed. What is masked was never on the disk.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.records.capture import Feedback, Turn, Vote, append_capture, now
from danlu.records.record import Message
from danlu.serving.server.protocol import ChatRequest, FeedbackRequest
from danlu.workshop.privacy import mask_turn, mask_value, mask_vote

if TYPE_CHECKING:
    from danlu.serving.gateway.heard import Heard
    from danlu.serving.gateway.routed import Routed
    from danlu.serving.server.answers import Answer
    from danlu.serving.server.served import Served

SESSION_HEADER = "x-session-id"
"""Clients that send it say which requests are one conversation."""

_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl")


class Capture:
    """Appends turns and feedback; used by several threads.

    Args:
        folder: Where the files are; made if need be.
        keep_days: For how many days they stay; None removes none.
        lost: Told of each answer that could not be written down, and why: a full disk ends no
            service. None raises what the system said.
    """

    def __init__(
        self,
        folder: Path,
        keep_days: int | None,
        lost: Callable[[OSError], None] | None = None,
    ) -> None:
        self.folder = folder
        self.keep_days = keep_days
        self._lost = lost
        self._lock = threading.Lock()
        self._day: date | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def turn(
        self,
        answer_id: str,
        request: ChatRequest,
        served: Served,
        answer: Answer,
        headers: Mapping[str, str],
    ) -> None:
        """Write down an answer with the conversation before it."""
        text = answer.text
        calls: list[dict[str, Any]] = []
        if request.tools and served.calls is not None:
            text, calls = served.calls.read(answer.text)
        self._turn(
            Turn(
                id=answer_id,
                messages=_messages([one.plain() for one in request.messages], text, calls),
                time=now(),
                session=_session(headers, request.user),
                model=served.name,
                adapter=served.run or "",
                data_version=served.data_version,
                tools=tuple(tool.model_dump(exclude_none=True) for tool in request.tools or []),
            )
        )

    def heard(
        self, asked: Mapping[str, Any], routed: Routed, heard: Heard, headers: Mapping[str, str]
    ) -> None:
        """Write down an answer that another server gave, with the conversation before it."""
        given = [_readable(one) for one in asked.get("messages") or ()]
        tools = [one for one in asked.get("tools") or () if isinstance(one, dict)]
        user = asked.get("user")
        self._turn(
            Turn(
                id=heard.id or f"chatcmpl-{secrets.token_hex(12)}",
                messages=_messages(given, heard.text, heard.calls),
                time=now(),
                session=_session(headers, user if isinstance(user, str) else None),
                model=routed.name,
                adapter=routed.origin.run or "",
                data_version=routed.origin.data_version,
                tools=tuple(tools),
            )
        )

    def _turn(self, turn: Turn) -> None:
        if not any(message.role == "user" for message in turn.messages):
            return  # nobody has asked anything
        tools = mask_value(list(turn.tools)).value
        masked = mask_turn(replace(turn, tools=tuple(tools))).value
        try:
            self._append(masked)
        except OSError as error:
            if self._lost is None:
                raise
            self._lost(error)

    def feedback(self, said: FeedbackRequest) -> None:
        """Write down what somebody says of an answer.

        Raises:
            OSError: If it cannot be written.
        """
        vote = Vote(_pseudonym(said.voter), said.up, now(), said.text, said.corrected)
        self._append(Feedback(said.id, mask_vote(vote).value))

    def add(self, turn: Turn) -> None:
        """Write down an answer that was given elsewhere, as in the terminal."""
        self._turn(turn)

    def _append(self, entry: Turn | Feedback) -> None:
        today = datetime.now(UTC).date()
        with self._lock:
            append_capture(self.folder / f"{today.isoformat()}.jsonl", entry)
            if self._day != today:
                self._day = today
                self._remove_old(today)

    def _remove_old(self, today: date) -> None:
        if self.keep_days is None:
            return
        oldest = today - timedelta(days=self.keep_days)
        for path in self.folder.iterdir():
            found = _DAY.fullmatch(path.name)
            if found and date.fromisoformat(found[1]) < oldest:
                path.unlink()


def _messages(
    before: Sequence[Mapping[str, Any]], text: str, calls: Sequence[Mapping[str, Any]]
) -> tuple[Message, ...]:
    """Return a conversation with its answer."""
    messages = [
        Message(
            one["role"],
            one["content"],
            extra={k: v for k, v in one.items() if k not in ("role", "content")},
        )
        for one in before
    ]
    extra = {"tool_calls": [{"type": "function", "function": call} for call in calls]}
    messages.append(Message("assistant", text, extra=extra if calls else {}))
    return tuple(messages)


def _readable(message: Any) -> dict[str, Any]:
    """Return a message that another server has taken, its parts joined; pictures by their kind.

    Example:
        >>> parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url"}]
        >>> _readable({"role": "user", "content": parts})
        {'role': 'user', 'content': 'What is this?[image_url]'}
    """
    given = dict(message) if isinstance(message, Mapping) else {}
    content = given.get("content")
    if isinstance(content, list):
        parts = [one if isinstance(one, Mapping) else {"text": str(one)} for one in content]
        content = "".join(str(one.get("text") or f"[{one.get('type', '')}]") for one in parts)
    role = str(given.get("role") or "user")
    text = None if content is None else str(content)
    return {**given, "role": "system" if role == "developer" else role, "content": text}


def _session(headers: Mapping[str, str], user: str | None) -> str:
    return _pseudonym(headers.get(SESSION_HEADER) or user or "")


def _pseudonym(name: str) -> str:
    """Return a name that stays the same for the same person, and says nothing of who it is.

    Example:
        >>> _pseudonym("li@danlu.cn") == _pseudonym("li@danlu.cn") != _pseudonym("wang@danlu.cn")
        True
    """
    if not name:
        return ""
    return hashlib.blake2b(name.encode(), digest_size=8, person=b"danlu-voter").hexdigest()
