"""What an answer said that was passed on: read along, for capture and the counts of tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

END = b"data: [DONE]"


@dataclass
class Heard:
    """An answer, as far as it is of interest.

    Attributes:
        id: As the other server calls it; empty if it does not.
        text: Of the first choice.
        calls: Its tool calls, each with ``name`` and ``arguments``.
        prompt_tokens: As reported; 0 if not.
        answer_tokens: Likewise.
        complete: Whether it came to its end.
    """

    id: str = ""
    text: str = ""
    calls: list[dict[str, str]] = field(default_factory=list)
    prompt_tokens: int = 0
    answer_tokens: int = 0
    complete: bool = False

    def usage(self, found: Any) -> None:
        """Take the counts of tokens over."""
        if isinstance(found, Mapping):
            self.prompt_tokens = _count(found.get("prompt_tokens"))
            self.answer_tokens = _count(found.get("completion_tokens"))


def heard_whole(body: bytes) -> Heard:
    """Read an answer that came at once; what is not as it should be is left empty."""
    heard = Heard(complete=True)
    try:
        found = json.loads(body)
    except ValueError:
        return heard
    if not isinstance(found, Mapping):
        return heard
    heard.id = str(found.get("id") or "")
    heard.usage(found.get("usage"))
    message = _first(found.get("choices")).get("message")
    if isinstance(message, Mapping):
        heard.text = str(message.get("content") or "")
        for call in _mappings(message.get("tool_calls")):
            heard.calls.append(_function(call))
    return heard


def heard_stream(parts: Sequence[bytes]) -> Heard:
    r"""Read an answer that came as server-sent events.

    Example:
        >>> event = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
        >>> found = heard_stream([event, event, b"data: [DONE]\n\n"])
        >>> found.text, found.complete
        ('HiHi', True)
    """
    heard = Heard()
    calls: dict[int, dict[str, str]] = {}
    for line in b"".join(parts).splitlines():
        if line.startswith(END):
            heard.complete = True
        elif line.startswith(b"data:"):
            try:
                event = json.loads(line[5:])
            except ValueError:
                continue
            if isinstance(event, Mapping):
                _hear_event(heard, calls, event)
    heard.calls = [calls[index] for index in sorted(calls)]
    return heard


def heard_usage(tail: bytes) -> Heard:
    """Read the counts of tokens off the last events of a stream."""
    return heard_stream([tail])


def _hear_event(heard: Heard, calls: dict[int, dict[str, str]], event: Mapping[str, Any]) -> None:
    heard.id = heard.id or str(event.get("id") or "")
    heard.usage(event.get("usage") or None)
    delta = _first(event.get("choices")).get("delta")
    if not isinstance(delta, Mapping):
        return
    heard.text += str(delta.get("content") or "")
    for part in _mappings(delta.get("tool_calls")):
        call = calls.setdefault(_count(part.get("index")), {"name": "", "arguments": ""})
        for key, value in _function(part).items():
            call[key] += value


def _first(choices: Any) -> Mapping[str, Any]:
    """Return the choice of index 0; empty if it is not among them."""
    for choice in _mappings(choices):
        if choice.get("index", 0) == 0:
            return choice
    return {}


def _function(call: Mapping[str, Any]) -> dict[str, str]:
    function = call.get("function")
    about = function if isinstance(function, Mapping) else {}
    return {key: str(about.get(key) or "") for key in ("name", "arguments")}


def _mappings(found: Any) -> Iterator[Mapping[str, Any]]:
    for one in found if isinstance(found, list) else ():
        if isinstance(one, Mapping):
            yield one


def _count(found: Any) -> int:
    return found if isinstance(found, int) and found >= 0 else 0
