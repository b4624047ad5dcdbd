"""The application: routes, errors, limits, keys. What it serves and how is handed to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException

from danlu.errors import did_you_mean
from danlu.serving.gateway.forward import Forward
from danlu.serving.gateway.routed import Routed
from danlu.serving.server.capture import Capture
from danlu.serving.server.described import (
    HEALTH,
    NUMBERS,
    About,
    Chat,
    Completion,
    Kept,
    Models,
    Responses,
    Vectors,
    answered,
)
from danlu.serving.server.faults import ApiError
from danlu.serving.server.keys import Keys
from danlu.serving.server.metrics import Metrics
from danlu.serving.server.protocol import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    FeedbackRequest,
)
from danlu.serving.server.settings import ServerSettings

if TYPE_CHECKING:  # what answers in this process imports torch; a gateway does without
    from danlu.serving.server.answers import Answer
    from danlu.serving.server.served import Served

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OPEN_ROUTES = ("/healthz", "/docs", "/openapi.json")
"""What may be asked without a key."""

LEFT_CHECK_S = 0.25
"""How often is looked whether a client who waits for a whole answer is still there."""


def make_app(
    served: Sequence[Served], settings: ServerSettings, routed: Sequence[Routed] = ()
) -> FastAPI:
    """Make the application.

    Args:
        served: Models that are answered for in this process.
        settings: Limits and keys.
        routed: Models that other servers answer for.
    """
    server = _Server(served, settings, routed)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        server.closing = True
        engines = {id(one.engine): one.engine for one in served}
        for engine in engines.values():
            await asyncio.to_thread(engine.close, drain_s=settings.drain_s)
        for one in routed:
            one.wire.close()

    app = FastAPI(title="Danlu", lifespan=life, redoc_url=None)
    app.state.server = server
    _add_routes(app, server)
    app.add_exception_handler(ApiError, _api_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _not_valid)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _fault)
    if routed:
        app.add_middleware(
            Forward,
            routed=server.routed,
            seconds=settings.seconds,
            capture=server.capture,
        )
    app.add_middleware(_Guard, server=server)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    return app


def _add_routes(app: FastAPI, server: _Server) -> None:
    def add(
        path: str, answer: Callable[..., Any], responses: Responses, method: str = "GET"
    ) -> None:
        app.add_api_route(
            path, answer, methods=[method], responses=responses, response_class=JSONResponse
        )

    add("/healthz", server.health, HEALTH)
    app.add_api_route(
        "/metrics", server.numbers, responses=NUMBERS, response_class=PlainTextResponse
    )
    add("/v1/models", server.models, answered(Models))
    add("/v1/models/{name:path}", server.model, answered(About))
    add("/v1/chat/completions", server.chat, answered(Chat, streams=True), "POST")
    add("/v1/completions", server.complete, answered(Completion, streams=True), "POST")
    add("/v1/embeddings", server.embed, answered(Vectors), "POST")
    add("/v1/feedback", server.feedback, answered(Kept), "POST")


class _Server:
    """The routes, and what they share."""

    def __init__(
        self, served: Sequence[Served], settings: ServerSettings, routed: Sequence[Routed]
    ) -> None:
        self.served = {one.name: one for one in served}
        self.routed = {one.name: one for one in routed}
        self.settings = settings
        self.metrics = Metrics(served, routed)
        self.keys = Keys(settings.keys) if settings.keys is not None else None
        self.capture = (
            Capture(settings.capture, settings.keep_days) if settings.capture is not None else None
        )
        self.under_way = 0
        self.closing = False

    async def health(self) -> JSONResponse:
        """Say whether requests are taken."""
        ended = [one.name for one in self.routed.values() if not one.alive()]
        status = "ok"
        if self.closing:
            status = "closing"
        elif ended:
            status = f"the engine behind {', '.join(ended)} has ended"
        state = {"status": status, "models": [*self.served, *self.routed]}
        return JSONResponse(state, status_code=200 if status == "ok" else 503)

    async def numbers(self) -> Response:
        """Return the metrics for Prometheus."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def models(self) -> dict[str, Any]:
        """List the models."""
        return {"object": "list", "data": [_about(one) for one in self._all().values()]}

    async def model(self, name: str) -> dict[str, Any]:
        """Describe one model."""
        if name in self.routed:
            return _about(self.routed[name])
        return _about(self._named(name))

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        from danlu.serving.server.answers import asked_chat
        from danlu.serving.server.chat import streamed, whole

        served = self._answering(body.model)
        longest = self.settings.longest
        asked = await self._prepared(served, request, lambda: asked_chat(body, served, longest))

        async def said(answer_id: str, answers: list[Answer]) -> None:
            if (capture := self.capture) is not None:
                given = (answer_id, body, served, answers[0], request.headers)
                await asyncio.to_thread(capture.turn, *given)

        if body.stream:
            return self._stream(streamed(body, served, asked, self.settings.seconds, said))
        found, answers = await self._wait(
            whole(body, served, asked, self.settings.seconds), request
        )
        await said(found["id"], answers)
        return JSONResponse(found)

    async def complete(self, body: CompletionRequest, request: Request) -> Response:
        """Go on with a text."""
        from danlu.serving.server.answers import asked_completion
        from danlu.serving.server.chat import streamed, whole

        served = self._answering(body.model)
        longest = self.settings.longest
        asked = await self._prepared(
            served, request, lambda: asked_completion(body, served, longest)
        )
        if body.stream:
            return self._stream(streamed(body, served, asked, self.settings.seconds))
        found, _ = await self._wait(whole(body, served, asked, self.settings.seconds), request)
        return JSONResponse(found)

    async def embed(self, body: EmbeddingRequest, request: Request) -> JSONResponse:
        """Make vectors of texts."""
        from danlu.serving.server.embeddings import asked_texts, embeddings

        served = self._named(body.model)
        texts = await self._prepared(served, request, lambda: asked_texts(body, served))
        work = embeddings(body, served, texts, self.settings.seconds)
        return JSONResponse(await self._wait(work, request))

    async def feedback(self, body: FeedbackRequest) -> dict[str, Any]:
        """Keep what somebody says of an answer."""
        if self.capture is None:
            raise ApiError(
                "this server keeps no conversations, so there is nothing to say something of: "
                "start it with --capture FOLDER.",
                status=404,
                code="no_capture",
            )
        await asyncio.to_thread(self.capture.feedback, body)
        return {"object": "feedback", "id": body.id, "kept": True}

    def _all(self) -> dict[str, Served | Routed]:
        return {**self.served, **self.routed}

    def _named(self, name: str) -> Served:
        if name not in self.served:
            raise ApiError(
                f"there is no model {name!r}.{did_you_mean(name, self._all())}",
                status=404,
                param="model",
                code="model_not_found",
            )
        return self.served[name]

    def _answering(self, name: str) -> Served:
        served = self._named(name)
        if served.encodes:
            raise ApiError(
                f"{name} is an encoder, and answers nothing: ask /v1/embeddings.", param="model"
            )
        return served

    def _stream(self, events: AsyncIterator[bytes]) -> StreamingResponse:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _prepared(self, served: Served, request: Request, prepare: Callable[[], Any]) -> Any:
        """Make a request ready for the engine, beside the event loop.

        Rendering and cutting a prompt of megabytes takes seconds, and a template may mean harm.
        """
        seconds = self.settings.seconds
        work = asyncio.get_running_loop().run_in_executor(served.preparing, prepare)
        try:
            async with asyncio.timeout(seconds):
                return await self._wait(work, request)
        except TimeoutError as error:
            text = f"preparing the prompt took longer than {seconds:g} s, this server's limit."
            raise ApiError(text, status=504, code="timeout") from error

    async def _wait(self, work: Any, request: Request) -> Any:
        """Wait for an answer as long as the client does."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=LEFT_CHECK_S)
                if not task.done() and await request.is_disconnected():
                    raise ApiError("the client has left.", status=499)
            return await task
        finally:
            task.cancel()


class _Guard:
    """Keys, size, number and time of requests, before anything is read; and their count."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], server: _Server):
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        server, began = self._server, time.monotonic()
        status, first = 0, 0.0

        async def counted_send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, first
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not first:
                first = time.monotonic() - began
            await send(message)

        server.under_way += 1
        try:
            self._check(scope)
            await self._app(scope, await self._read(receive), counted_send)
        except ApiError as error:
            if status:
                raise
            await _response(error)(scope, receive, counted_send)
        finally:
            server.under_way -= 1
            path = scope["path"]
            route = path if path in _ROUTES else "other"
            server.metrics.requests.labels(route, str(status)).inc()
            server.metrics.seconds.labels(route).observe(time.monotonic() - began)
            if first:
                server.metrics.first.labels(route).observe(first)

    async def _read(self, receive: Receive) -> Receive:
        """Read a request's body, so far as it may be, and return what gives it once more."""
        body, client_s = bytearray(), self._server.settings.client_s
        try:
            async with asyncio.timeout(client_s):
                message = await receive()
                while message["type"] == "http.request":
                    body += message.get("body") or b""
                    if len(body) > self._server.settings.body_bytes:
                        raise _too_large(self._server)
                    if not message.get("more_body"):
                        break
                    message = await receive()
        except TimeoutError as error:
            text = f"the request was not whole after {client_s:g} s."
            raise ApiError(text, status=408, code="slow") from error
        first = True

        async def again() -> MutableMapping[str, Any]:
            nonlocal first
            if first and message["type"] == "http.request":
                first = False
                return {"type": "http.request", "body": bytes(body), "more_body": False}
            return await receive() if message["type"] == "http.request" else message

        return again

    def _check(self, scope: Scope) -> None:
        server, headers = self._server, dict(scope["headers"])
        if scope["path"] in OPEN_ROUTES:
            return
        if server.keys is not None:
            given = headers.get(b"authorization", b"").decode("latin-1")
            kind, _, key = given.partition(" ")
            if kind.lower() != "bearer" or server.keys.owner(key.strip()) is None:
                raise ApiError(
                    "this server asks for an API key: send the header Authorization: Bearer KEY.",
                    status=401,
                    code="invalid_api_key",
                )
        if server.closing:
            raise ApiError("the server is closing.", status=503, code="closing")
        if server.under_way > server.settings.concurrency:
            raise ApiError(
                f"{server.settings.concurrency} requests are under way, as many as may: try again "
                "later.",
                status=429,
                code="busy",
            )
        if scope["method"] == "POST" and not _is_json(headers.get(b"content-type", b"")):
            # A page of another site can send anything else without asking.
            raise ApiError("send the header Content-Type: application/json.", status=415)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > server.settings.body_bytes:
            raise _too_large(server)


_ROUTES = frozenset(
    {
        "/healthz",
        "/metrics",
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/feedback",
    }
)


def _is_json(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or kind.endswith(b"+json")


def _too_large(server: _Server) -> ApiError:
    most = server.settings.body_bytes
    return ApiError(
        f"the request is larger than {most:,} bytes, which is this server's limit.",
        status=413,
        code="too_large",
    )


def _about(model: Served | Routed) -> dict[str, Any]:
    if isinstance(model, Routed):
        created, version = model.origin.created, model.origin.data_version
        context_tokens = model.context_tokens
    else:
        created, version = model.created, model.data_version
        context_tokens = model.generator.context_tokens
    return {
        "id": model.name,
        "object": "model",
        "created": created,
        "owned_by": "danlu",
        "max_model_len": context_tokens,
        "data_version": version or None,
    }


def _response(error: ApiError) -> JSONResponse:
    headers = {"retry-after": "1"} if error.status in (429, 503) else None
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


# Asynchronous, all of them: others would be run in threads of their own.


async def _api_error(_: Request, error: ApiError) -> JSONResponse:
    return _response(error)


async def _not_valid(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        place, text = "", f"the body is not JSON ({first.get('ctx', {}).get('error', text)})."
    return _response(ApiError(f"{place}: {text}" if place else text, param=place or None))


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    text = str(error.detail)
    if error.status_code == 404:
        text = f"there is nothing at {request.url.path}; the API is at /v1."
    elif error.status_code == 405:
        text = f"{request.method} does not work at {request.url.path}."
    fault = ApiError(text, status=error.status_code)
    return JSONResponse(fault.body(), status_code=error.status_code, headers=error.headers)


async def _fault(_: Request, error: Exception) -> JSONResponse:
    return _response(ApiError(f"a fault in the server ({type(error).__name__}).", status=500))
