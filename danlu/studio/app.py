"""The application: pages, assets, errors, behind the guard."""

from __future__ import annotations

import mimetypes
from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException

from danlu.errors import DanluError
from danlu.studio import frame
from danlu.studio.guard import Guard
from danlu.studio.jobs import routes as jobs
from danlu.studio.pages import PAGES
from danlu.studio.rendering import page, words_of
from danlu.studio.sessions import Sessions
from danlu.studio.settings import StudioSettings
from danlu.studio.shared import Shared
from danlu.studio.workspace import NotThereError, Workspace

ASSETS = Path(str(resources.files("danlu.studio") / "assets"))
YEAR_S = 365 * 24 * 3600


def make_app(settings: StudioSettings, sessions: Sessions, port: int | None = None) -> Guard:
    """Make the application.

    Args:
        settings: Of the studio.
        sessions: Browsers that were let in.
        port: That it listens on; None asks nothing of the Host header's port.
    """
    app = FastAPI(title="Danlu", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.workspace = Workspace(settings.workspace, settings.runs)
    app.state.shared = Shared(app.state.workspace)
    app.state.settings = settings
    app.state.sessions = sessions
    app.state.port = port
    app.state.closing = False
    app.add_api_route("/assets/{name}", _asset, methods=["GET"])
    app.include_router(frame.router)
    app.include_router(jobs.router)
    for one in PAGES:
        app.include_router(one.router)
    app.add_exception_handler(DanluError, _mistake)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _fault)
    return Guard(app, settings, sessions, port)


async def _asset(name: str, request: Request) -> Response:
    path = ASSETS / name
    if path.parent != ASSETS or not path.is_file():
        raise HTTPException(404)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    kept = f"max-age={YEAR_S}, immutable" if "v" in request.query_params else "no-cache"
    headers = {"cache-control": kept}
    return Response(path.read_bytes(), media_type=kind, headers=headers)


async def _mistake(request: Request, error: DanluError) -> Response:
    return _answer(request, 404 if isinstance(error, NotThereError) else 400, str(error))


async def _http_error(request: Request, error: HTTPException) -> Response:
    return _answer(request, error.status_code, str(error.detail))


async def _fault(request: Request, error: Exception) -> Response:
    kind = type(error).__name__
    return _answer(request, 500, f"A fault in Danlu: {kind}. The terminal has the traceback.")


def _answer(request: Request, status: int, text: str) -> Response:
    """Answer a navigation by a page, and a script by plain words that it shows."""
    text = words_of(request).error(text)
    if "text/html" in request.headers.get("accept", "") and "hx-request" not in request.headers:
        return page(request, "frame/error.html", status=status, text=text, code=status)
    return PlainTextResponse(text, status_code=status)
