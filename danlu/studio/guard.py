"""What every request passes before a page sees it: host, session, CSRF, size; and what it gets."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders

from danlu.studio.sessions import LIFETIME_S, Sessions
from danlu.studio.settings import LOOPBACK, StudioSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OPEN = ("/login", "/assets/")
"""What may be asked without a session."""
SAFE = ("GET", "HEAD")

HEADERS = {
    # No inline script or style, no eval, nothing from elsewhere, no frame around it.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware in front of everything.

    Args:
        app: What it guards.
        settings: Of the studio.
        sessions: Browsers that were let in.
        port: That it listens on; names the cookie, which browsers do not keep apart by port.
    """

    def __init__(
        self, app: Any, settings: StudioSettings, sessions: Sessions, port: int | None
    ) -> None:
        self.app = app
        self._settings = settings
        self._sessions = sessions
        self._cookie = cookie_name(port)
        own = () if settings.is_local else (socket.gethostname().lower(),)
        self._names = {"localhost", *own, *(name.lower() for name in settings.names)}

    def close(self) -> None:
        """Let streams end, and free the models: the studio is about to end."""
        self.app.state.closing = True
        self.app.state.shared.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a WebSocket: nothing here speaks it, and the server closes it
        request = Request(scope)
        guarded = _with_headers(send, request.url.path)
        key = request.cookies.get(self._cookie)
        session = self._sessions.find(key)
        scope.setdefault("state", {})["session"] = session
        answer = self._refusal(request, session is not None)
        if answer is None and session is not None and request.method not in SAFE:
            given = request.headers.get("x-csrf-token", "").encode()
            same = hmac.compare_digest(given, session.csrf.encode())
            if request.url.path != "/login" and not same:
                answer = _no(request, 403, "This page is out of date: reload it and try again.")
        if answer is not None:
            await answer(scope, receive, guarded)
            return
        await self.app(scope, _limited(receive, self._settings.body_bytes), guarded)

    def _refusal(self, request: Request, known: bool) -> Response | None:
        """Return what is answered in place of the page, if anything."""
        if not self._is_own(request.headers.get("host", "")):
            return _no(request, 421, "This studio is not reached by that name; see --host-name.")
        if request.method not in SAFE and not self._from_here(request):
            return _no(request, 403, "Changes are only taken from the studio's own pages.")
        try:
            length = int(request.headers.get("content-length", "0"))
        except ValueError:
            return _no(request, 400, "The length of the request is not a number.")
        if length > self._settings.body_bytes:
            return _no(
                request, 413, f"The request has more than {self._settings.body_bytes:,} bytes."
            )
        path = request.url.path
        token = request.query_params.get("token")
        if request.method == "GET" and token and path == "/":
            key = self._sessions.by_token(token)
            if key is not None:
                return with_session(RedirectResponse("/", 303), key, self._cookie)
        if known or path == OPEN[0] or path.startswith(OPEN[1]):
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return _no(request, 401, "No session: open the address that `danlu studio` printed.")

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this studio: not so after DNS rebinding."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        # The port may be another: a tunnel's.
        if self._settings.is_local:
            return name in LOOPBACK or name in self._names
        return name in self._names or _is_address(name)

    def _from_here(self, request: Request) -> bool:
        """Whether a request was made by a page of this studio, as far as the browser says."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = request.headers.get("origin")
        return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def cookie_name(port: int | None) -> str:
    """Return the name of the session's cookie."""
    return f"danlu_studio_{port or 0}"


def with_session(response: Response, key: str, cookie: str) -> Response:
    """Let the browser keep a session."""
    response.set_cookie(cookie, key, max_age=LIFETIME_S, httponly=True, samesite="strict", path="/")
    return response


def _no(request: Request, status: int, text: str) -> Response:
    from danlu.studio.rendering import words_of

    return PlainTextResponse(words_of(request).error(text), status_code=status)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_headers(send: Send, path: str) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if not path.startswith("/assets/"):
                headers.setdefault("cache-control", "no-store")
        await send(message)

    return guarded


def _limited(receive: Receive, most: int) -> Receive:
    """Break off a body that is longer than it may be, whatever its length was said to be."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if message["type"] == "http.request" and read > most:
            return {"type": "http.disconnect"}
        return message

    return limited
