"""One request on the clock: when the first text came, when the last, and how much it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from danlu.serving.gateway.wire import Wire, WireError


class RefusedError(Exception):
    """The server did not answer; its text says how, in a few words."""


class Asked(Protocol):
    """A server that streams answers."""

    def stream(self, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Give the bytes of an answer's events as they come.

        Raises:
            RefusedError: If there is none, or it breaks off.
        """
        ...


class Endpoint:
    """An OpenAI-compatible server.

    Args:
        root: Its address without ``/v1``.
        key: API key.
    """

    def __init__(self, root: str, key: str | None = None) -> None:
        self._wire = Wire(root, key)

    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Give the bytes of an answer's events as they come."""
        data = json.dumps(body).encode()
        try:
            async with self._wire.ask("POST", "/v1/chat/completions", data) as reply:
                if reply.status != 200:
                    await reply.whole()
                    raise RefusedError(f"status {reply.status}")
                async for part in reply.parts():
                    yield part
        except WireError as error:
            raise RefusedError(error.message) from error

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()


@dataclass
class Timing:
    """What became of one request.

    Attributes:
        began_s: When it was sent, on the loop's clock.
        first_s: Until the first text came.
        whole_s: Until the answer had ended.
        prompt_tokens: As the server reports; None if it does not.
        answer_tokens: Likewise; pieces of the stream if it does not.
        characters: Of the answer.
        counted: Whether the server has counted the tokens.
        failure: Why it was not answered; empty if it was.
    """

    began_s: float
    first_s: float = 0.0
    whole_s: float = 0.0
    prompt_tokens: int | None = None
    answer_tokens: int = 0
    characters: int = 0
    counted: bool = False
    failure: str = ""

    @property
    def ended_s(self) -> float:
        """When it had ended, on the loop's clock."""
        return self.began_s + self.whole_s


async def timed(server: Asked, body: Mapping[str, Any], seconds: float) -> Timing:
    """Ask, and keep the time.

    Args:
        server: Whom.
        body: The request; it is streamed, and its tokens are asked for.
        seconds: Longest time.
    """
    clock = asyncio.get_running_loop().time
    timing = Timing(clock())
    wanted = {**body, "stream": True, "stream_options": {"include_usage": True}}
    rest, pieces = b"", 0
    try:
        async with asyncio.timeout(seconds):
            async for part in server.stream(wanted):
                *lines, rest = (rest + part).split(b"\n")
                for event in filter(None, map(_event, lines)):
                    if text := _text(event):
                        timing.first_s = timing.first_s or clock() - timing.began_s
                        timing.characters += len(text)
                        pieces += 1
                    _take_usage(timing, event)
                    if "error" in event:
                        raise RefusedError("an error in the stream")
    except RefusedError as error:
        timing.failure = str(error)
    except TimeoutError:
        timing.failure = f"longer than {seconds:g} s"
    timing.whole_s = clock() - timing.began_s
    timing.answer_tokens = timing.answer_tokens if timing.counted else pieces
    if not timing.failure and not pieces:
        timing.failure = "an empty answer"
    return timing


def _event(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"data:") or b"[DONE]" in line:
        return None
    try:
        found = json.loads(line[5:])
    except ValueError as error:
        raise RefusedError("events that are no JSON") from error
    return found if isinstance(found, dict) else None


def _text(event: Mapping[str, Any]) -> str:
    """Return the text that an event brings, of the reasoning too."""
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        return str(delta.get("content") or delta.get("reasoning_content") or "")
    return ""


def _take_usage(timing: Timing, event: Mapping[str, Any]) -> None:
    usage = event.get("usage")
    if isinstance(usage, Mapping) and isinstance(usage.get("completion_tokens"), int):
        timing.counted = True
        timing.answer_tokens = usage["completion_tokens"]
        timing.prompt_tokens = usage.get("prompt_tokens")
