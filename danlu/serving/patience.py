"""Limits of time on what clients do with a connection, which uvicorn has none for.

uvicorn waits for ever for a request's head, and for a client to read its answer: whoever sends a
byte a minute holds a connection open, and a few thousand of them hold the whole server up.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

LOOKS = 4
"""How often in the time that a client has is looked whether it is over."""


def patient(client_s: float) -> type[asyncio.Protocol]:
    """Return a protocol for uvicorn (``Config(http=...)``) that lets slow clients go.

    Args:
        client_s: How long a client may take to send the head of a request, and to read what is
            there for it. (The body is the application's to limit.)
    """
    return cast(type[asyncio.Protocol], partial(_Patient, client_s))


class _Patient(asyncio.Protocol):
    """Hands everything on to uvicorn's protocol, and looks at the clock.

    Three things are limited. The head of a request: from the connection, or from its first byte
    where the connection was kept open, as uvicorn's own limit ends with that byte. An answer that
    nobody reads, so that no more can be written. And what is left of it when the connection is
    closed, which asyncio would keep until it is read.
    """

    def __init__(self, client_s: float, **given: Any) -> None:
        self._client_s = client_s
        self._inner: Any = AutoHTTPProtocol(**given)
        self._loop = given.get("_loop") or asyncio.get_running_loop()
        self._heard = False
        self._awaits_head_since: float | None = None
        self._awaits_reader_since: float | None = None
        self._closing_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._awaits_head_since = self._loop.time()
        self._inner.connection_made(transport)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._inner.data_received(data)
        if self._answering():
            self._awaits_head_since = None
        elif self._awaits_head_since is None:
            self._awaits_head_since = self._loop.time()

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._awaits_reader_since = self._loop.time()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._awaits_reader_since = None
        self._inner.resume_writing()

    def _answering(self) -> bool:
        cycle = self._inner.cycle
        return cycle is not None and not cycle.response_complete

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(self._client_s / LOOKS, self._look)

    def _look(self) -> None:
        if self._transport.get_protocol() is not self:  # it speaks something else than HTTP now
            return
        if self._transport.is_closing() and self._closing_since is None:
            self._closing_since = self._loop.time()
        if self._is_over(self._awaits_reader_since) or self._is_over(self._closing_since):
            self._transport.abort()
        elif self._is_over(self._awaits_head_since) and not self._transport.is_closing():
            self._let_go()
        self._look_later()

    def _is_over(self, since: float | None) -> bool:
        return since is not None and self._loop.time() - since >= self._client_s

    def _let_go(self) -> None:
        """Close a connection on which no request came; with a word, if one had begun."""
        if self._heard and self._inner.cycle is None:
            self._transport.write(_too_slow(self._client_s))
        self._transport.close()


def _too_slow(client_s: float) -> bytes:
    error = {
        "message": f"the request's head was not whole after {client_s:g} s.",
        "type": "invalid_request_error",
        "param": None,
        "code": "slow",
    }
    body = json.dumps({"error": error}).encode()
    head = (
        "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
