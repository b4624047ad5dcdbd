"""Conversations written down for the flywheel, where the server is told to; personal data masked.

One file a day, ``YYYY-MM-DD.jsonl``, in the form of ``danlu.records.capture``; files older than
they are to be kept are removed. What is masked was never on the disk.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from danlu.records.capture import Feedback, Turn, Vote, append_capture, now
from danlu.records.record import Message
from danlu.serving.server.answers import Answer
from danlu.serving.server.protocol import ChatRequest, FeedbackRequest
from danlu.serving.server.served import Served
from danlu.workshop.privacy import mask_turn, mask_value, mask_vote

SESSION_HEADER = "x-session-id"
"""Clients that send it say which requests are one conversation."""

_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl")


class Capture:
    """Appends turns and feedback; used by several threads.

    Args:
        folder: Where the files are; made if need be.
        keep_days: For how many days they stay; None removes none.
    """

    def __init__(self, folder: Path, keep_days: int | None) -> None:
        self.folder = folder
        self.keep_days = keep_days
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
        plain = [message.plain() for message in request.messages]
        messages = [
            Message(
                one["role"],
                one["content"],
                extra={k: v for k, v in one.items() if k not in ("role", "content")},
            )
            for one in plain
        ]
        if not any(message.role == "user" for message in messages):
            return  # nobody has asked anything
        text = answer.text
        calls: list[dict[str, Any]] = []
        if request.tools and served.calls is not None:
            text, calls = served.calls.read(answer.text)
        extra = {"tool_calls": [{"type": "function", "function": call} for call in calls]}
        messages.append(Message("assistant", text, extra=extra if calls else {}))
        tools = mask_value([tool.model_dump(exclude_none=True) for tool in request.tools or []])
        turn = Turn(
            id=answer_id,
            messages=tuple(messages),
            time=now(),
            session=_pseudonym(headers.get(SESSION_HEADER) or request.user or ""),
            model=served.name,
            adapter=served.run or "",
            data_version=served.data_version,
            tools=tuple(tools.value),
        )
        self._append(mask_turn(turn).value)

    def feedback(self, said: FeedbackRequest) -> None:
        """Write down what somebody says of an answer."""
        vote = Vote(_pseudonym(said.voter), said.up, now(), said.text, said.corrected)
        self._append(Feedback(said.id, mask_vote(vote).value))

    def add(self, turn: Turn) -> None:
        """Write down an answer that was given elsewhere, as in the terminal."""
        self._append(mask_turn(turn).value)

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


def _pseudonym(name: str) -> str:
    """Return a name that stays the same for the same person, and says nothing of who it is.

    Example:
        >>> _pseudonym("li@danlu.cn") == _pseudonym("li@danlu.cn") != _pseudonym("wang@danlu.cn")
        True
    """
    if not name:
        return ""
    return hashlib.blake2b(name.encode(), digest_size=8, person=b"danlu-voter").hexdigest()
