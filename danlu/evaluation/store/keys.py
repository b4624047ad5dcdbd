"""What prompts and answers are known by: their content, so that equal ones are the same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def question_key(messages: Sequence[Mapping[str, Any]]) -> str:
    """Hash what was asked to 32 hexadecimal digits."""
    return _digest(_encode([dict(message) for message in messages]))


def answer_key(text: str) -> str:
    """Hash an answer to 32 hexadecimal digits.

    Example:
        >>> answer_key("4") == answer_key("4"), answer_key("4") == answer_key("4.")
        (True, False)
    """
    return _digest(text)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
