"""The record: one conversation with its task type, the unit of everything in Danlu."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNLABELLED = "unlabelled"
"""Area of a record whose source names no task type: ``unlabelled/<file stem>``."""

TEXT_ROLE = "text"
"""Role of the only message of a plain document, as continued pre-training reads it."""

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: Any name that the chat template can render: ``system``, ``user``, ``assistant``,
            ``tool``, or the data's own (``narrator``, ``background`` ...).
        content: The text; None for an assistant turn that only calls tools.
        weight: For assistant turns, the weight of its tokens in the loss; 0 leaves it out.
        extra: What else the template may read: ``tool_calls`` (OpenAI schema), ``name``,
            ``tool_call_id``, ``reasoning_content``. A key whose value is None is the same as an
            absent one, and readers leave it out.
    """

    role: str
    content: str | None
    weight: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the message as a chat template reads it.

        Example:
            >>> Message("user", "Hi").as_dict()
            {'role': 'user', 'content': 'Hi'}
        """
        return {"role": self.role, "content": self.content, **self.extra}


@dataclass(frozen=True, slots=True)
class Response:
    """One of several answers to the same conversation, for preference learning.

    Attributes:
        content: The answer.
        rank: 1 is the best; None if unranked.
        score: A rating, higher is better; None if unrated.
        label: Thumbs up or down; None if neither.
    """

    content: str
    rank: int | None = None
    score: float | None = None
    label: bool | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation, with its task type and where it came from.

    Attributes:
        id: Given by the source, or a hash of the content (see ``content_id``).
        task_type: ``area/skill``, two levels.
        messages: The conversation, in order.
        tools: Tool declarations in the OpenAI schema, as the template reads them.
        responses: Answers to compare, for preference data; empty otherwise.
        tags: Free marks; ``robustness`` protects a record from cleaning.
        source: The file or dataset it was read from.
        meta: Columns that Danlu does not know, kept as they were.
    """

    id: str
    task_type: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    responses: tuple[Response, ...] = ()
    tags: tuple[str, ...] = ()
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether this is a plain document for pre-training: one message of role ``text``.

        Example:
            >>> Record("1", "wiki/page", (Message("text", "Mercury is a metal."),)).is_text
            True
        """
        return len(self.messages) == 1 and self.messages[0].role == TEXT_ROLE


def content_id(content: Any) -> str:
    """Hash JSON-able content to 16 hexadecimal digits; equal content, equal id, on any machine.

    Example:
        >>> content_id({"instruction": "Hi", "output": "Hello"})
        '87d17905a717064d'
    """
    return hashlib.blake2b(_encode(content).encode(), digest_size=8).hexdigest()
