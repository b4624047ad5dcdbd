"""Reasoning traces of answers: kept, dropped, or left in the last answer only.

Data carry them in two ways: as a field of the message (``reasoning_content`` and its like), or in
its text, between ``<think>`` and ``</think>`` at the beginning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from danlu.records.record import Message
from danlu.sequences.template import REASONING_NAMES

Reasoning = Literal["keep", "drop", "last"]

_TRACE = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


def with_reasoning(messages: Sequence[Message], setting: Reasoning) -> tuple[Message, ...]:
    """Return messages with the traces that the setting leaves.

    Args:
        messages: A conversation.
        setting: ``keep`` all, ``drop`` all, or leave that of the ``last`` answer.

    Example:
        >>> talk = [Message("user", "2+2?"), Message("assistant", "<think>two twos</think> 4")]
        >>> with_reasoning(talk, "drop")[1].content
        '4'
    """
    if setting == "keep":
        return tuple(messages)
    answers = [k for k, message in enumerate(messages) if message.role == "assistant"]
    spared = answers[-1:] if setting == "last" else []
    return tuple(
        without_reasoning(message) if k in answers and k not in spared else message
        for k, message in enumerate(messages)
    )


def without_reasoning(message: Message) -> Message:
    """Return a message without its trace; the same one if it has none.

    Example:
        >>> without_reasoning(Message("assistant", "4", extra={"reasoning_content": "two twos"}))
        Message(role='assistant', content='4', weight=1.0, extra={})
    """
    extra = {name: value for name, value in message.extra.items() if name not in REASONING_NAMES}
    content = message.content
    if content is not None:
        content = _TRACE.sub("", content, count=1)
    if content == message.content and len(extra) == len(message.extra):
        return message
    return replace(message, content=content, extra=extra)
