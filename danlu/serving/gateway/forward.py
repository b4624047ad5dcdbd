"""Passing requests on to other servers, and their answers back, byte for byte.

A request is changed only where it must be: the model's name, if it has another one there, and the
answer's length, if the server limits it. A client that leaves ends its request there too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from danlu.serving.gateway.heard import END, Heard, heard_stream, heard_usage, heard_whole
from danlu.serving.gateway.routed import Routed, json_object
from danlu.serving.gateway.wire import Reply, WireError, json_headers
from danlu.serving.server.faults import ApiError

if TYPE_CHECKING:
    from danlu.serving.server.capture import Capture

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAT = "/v1/chat/completions"
PASSED_ON = frozenset({CHAT, "/v1/completions", "/v1/embeddings"})
"""Nothing else is: an engine has routes that are for its owner only."""

LIMITS = ("max_completion_tokens", "max_tokens")
TAIL_BYTES = 4096
"""So much of a stream's end is looked at for its counts of tokens."""
LONGEST_ERROR = 2000


class Forward:
    """Answers requests for models of other servers; all else goes to the application.

    Args:
        app: What answers all else.
        routed: The models.
        seconds: How long a request may take.
        capture: Where conversations are written down; None: nowhere.
        cut: Set when the server has to end, and what is still under way with it.
    """

    def __init__(
        self,
        app: App,
        *,
        routed: Mapping[str, Routed],
        seconds: float,
        capture: Capture | None,
        cut: asyncio.Event,
    ) -> None:
        self._app = app
        self._routed = routed
        self._seconds = seconds
        self._capture = capture
        self._cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] not in PASSED_ON or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        message = await receive()  # the whole body: the guard has read it
        body = bytes(message.get("body") or b"")
        try:
            asked = json_object(body)
        except ValueError as error:
            raise ApiError(str(error)) from error
        name = asked.get("model")
        routed = self._routed.get(name) if isinstance(name, str) else None
        if routed is None:
            await self._app(scope, _once(message, receive), send)
            return
        exchange = _Exchange(self, scope, routed, asked, send)
        await _while_there(exchange, _changed(routed, asked, body), receive, self._cut)

    async def finish(
        self, scope: Scope, routed: Routed, asked: dict[str, Any], heard: Heard
    ) -> None:
        """Count an answer that was passed on, and write it down if that is wanted."""
        routed.counts.prompt_tokens += heard.prompt_tokens
        routed.counts.answer_tokens += heard.answer_tokens
        if self._capture is None or scope["path"] != CHAT or not heard.complete:
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        await asyncio.to_thread(self._capture.heard, asked, routed, heard, headers)

    @property
    def seconds(self) -> float:
        """How long a request may take."""
        return self._seconds

    @property
    def reads_along(self) -> bool:
        """Whether all of an answer is to be known."""
        return self._capture is not None


class _Exchange:
    """One request and its answer.

    Attributes:
        answered: Whether the client has, or is being sent, the end of the answer. If it leaves
            then, as OpenAI's client does at once, nothing is given up: all that is left is ours.
    """

    def __init__(
        self, forward: Forward, scope: Scope, routed: Routed, asked: dict[str, Any], send: Send
    ) -> None:
        self._forward, self._scope, self._send = forward, scope, send
        self._routed, self._asked = routed, asked
        self._began = False
        self.answered = False

    async def run(self, body: bytes) -> None:
        counts = self._routed.counts
        counts.requests += 1
        counts.running += 1
        ended = "cancelled"
        try:
            async with asyncio.timeout(self._forward.seconds):
                path = self._scope["path"]
                async with self._routed.wire.ask("POST", path, body) as reply:
                    heard = await self._pass_back(reply)
            await self._forward.finish(self._scope, self._routed, self._asked, heard)
            ended = "stop"
        except TimeoutError:
            ended = "error"
            await self.fail(
                ApiError(
                    f"the answer took longer than {self._forward.seconds:g} s, which is this "
                    "server's limit: ask for a shorter one.",
                    status=504,
                    code="timeout",
                )
            )
        except WireError as error:
            ended = "error"
            text = f"the engine behind {self._routed.name} failed: {error}"
            await self.fail(ApiError(text, status=502, code="upstream_failed"))
        finally:
            counts.running -= 1
            counts.finished[ended] = counts.finished.get(ended, 0) + 1

    async def _pass_back(self, reply: Reply) -> Heard:
        if reply.status != 200:
            await self._refused(reply)
            return Heard()
        if reply.streams:
            return await self._stream(reply)
        body = await reply.whole()
        kind = reply.headers.get("content-type", b"application/json")
        await self._start(200, [(b"content-type", kind), (b"content-length", b"%d" % len(body))])
        self.answered = True
        await self._send({"type": "http.response.body", "body": body})
        return heard_whole(body)

    async def _stream(self, reply: Reply) -> Heard:
        kept: list[bytes] = []
        tail = b""
        headers = [(b"content-type", reply.headers["content-type"])]
        await self._start(
            200, [*headers, (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        )
        async for part in reply.parts():
            tail = (tail + part)[-TAIL_BYTES:]
            self.answered = self.answered or END in tail
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
            if self._forward.reads_along:
                kept.append(part)
        self.answered = True
        await self._send({"type": "http.response.body", "body": b""})
        return heard_stream(kept) if kept else heard_usage(tail)

    async def _refused(self, reply: Reply) -> None:
        """Tell what the other server refuses, in OpenAI's shape."""
        error = _as_told(reply.status, await reply.whole(), self._routed.name)
        body = json.dumps(error.body(), ensure_ascii=False).encode()
        after = reply.headers.get("retry-after")
        extra = [(b"retry-after", after)] if after else []
        await self._start(error.status, json_headers(len(body), extra))
        await self._send({"type": "http.response.body", "body": body})

    async def fail(self, error: ApiError) -> None:
        """Tell of an error; after the first byte it is an event of its own."""
        if not self._began:
            raise error
        event = f"data: {json.dumps(error.body(), ensure_ascii=False)}\n\n".encode()
        await self._send({"type": "http.response.body", "body": event})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._began = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


def _changed(routed: Routed, asked: dict[str, Any], body: bytes) -> bytes:
    """Return the request's body as the other server gets it.

    Raises:
        ApiError: If it asks for what would be answered otherwise than in training.
    """
    if routed.refuses_tools and asked.get("tools") and asked.get("tool_choice") != "none":
        raise ApiError(routed.refuses_tools, param="tools")
    changes: dict[str, Any] = {}
    if routed.theirs != routed.name:
        changes["model"] = routed.theirs
    if routed.longest is not None and ("messages" in asked or "prompt" in asked):
        given = [key for key in LIMITS if isinstance(asked.get(key), int)]
        for key in given or ["max_tokens"]:
            if not given or asked[key] > routed.longest:
                changes[key] = routed.longest
    return json.dumps({**asked, **changes}).encode() if changes else body


def _as_told(status: int, body: bytes, name: str) -> ApiError:
    """Read another server's error; every engine has a shape of its own."""
    try:
        told = json.loads(body)
    except ValueError:
        told = body.decode("utf-8", "replace").strip()
    error = told.get("error", told) if isinstance(told, Mapping) else told
    param = code = None
    if isinstance(error, Mapping):
        param, code = error.get("param"), error.get("code")
        error = error.get("message") or error.get("detail") or error
    text = str(error)[:LONGEST_ERROR] or f"the engine answered {status} and nothing else."
    if status in (401, 403):  # whose key that is, is not the client's concern
        text = f"the engine behind {name} refuses this server's own key: {text}"
        return ApiError(text, status=502, code="upstream_refuses")
    if not 400 <= status < 600:
        text = f"the engine behind {name} answered with status {status}."
        return ApiError(text, status=502, code="upstream_failed")
    return ApiError(
        text,
        status=status,
        param=param if isinstance(param, str) else None,
        code=code if isinstance(code, str) else None,
    )


def _once(message: Message, receive: Receive) -> Receive:
    """Give a message that was received already, then what comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return message

    return again


async def _while_there(
    exchange: _Exchange, body: bytes, receive: Receive, cut: asyncio.Event
) -> None:
    """Do an exchange as long as the client is there, or has its answer, and the server goes on."""
    working = asyncio.ensure_future(exchange.run(body))
    leaving = asyncio.ensure_future(_left(exchange, receive))
    cutting = asyncio.ensure_future(cut.wait())
    tasks = (working, leaving, cutting)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
    finally:
        was_cut = cutting.done() and not working.done()
        for task in tasks:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    if was_cut and not exchange.answered:
        await exchange.fail(ApiError("the server is closing.", status=503, code="closing"))


async def _left(exchange: _Exchange, receive: Receive) -> None:
    """Return when the client has left before it had its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if exchange.answered:
        await asyncio.Event().wait()
