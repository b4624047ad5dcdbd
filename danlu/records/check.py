"""What every record must keep to, whether read or written."""

from __future__ import annotations

import math
from collections.abc import Sequence

from danlu.errors import RecordError
from danlu.records.formats.messages import TAKEN_NAMES
from danlu.records.record import Message


def check_messages(messages: Sequence[Message]) -> None:
    """Check that a conversation is whole, so that what reads it later need not.

    Raises:
        RecordError: If there is no message, or one has no role, no content without calling tools,
            a weight that is no number from 0 up, or a name of its own in ``extra``.

    Example:
        >>> check_messages([Message("user", None)])
        Traceback (most recent call last):
        danlu.errors.RecordError: message 1 (user) has no content.
    """
    if not messages:
        raise RecordError("there is no message.")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message.role, str) or not message.role:
            raise RecordError(f"message {number} has no role.")
        if not isinstance(message.content, str) and (
            message.content is not None or not message.extra.get("tool_calls")
        ):
            raise RecordError(f"message {number} ({message.role}) has no content.")
        if not (message.weight >= 0 and math.isfinite(message.weight)):
            raise RecordError(f"the weight of message {number} is {message.weight}, not 0 or more.")
        if message.extra and (taken := TAKEN_NAMES & message.extra.keys()):
            raise RecordError(f"message {number} holds {min(taken)!r} in extra, which is its own.")
