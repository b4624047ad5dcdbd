"""What belongs to no page: the way in, the start, language and theme."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response

from danlu.errors import DanluError
from danlu.studio.forms import read_form
from danlu.studio.guard import cookie_name, with_session
from danlu.studio.language import LANGUAGES
from danlu.studio.pages import PAGES
from danlu.studio.rendering import THEMES, page, words_of

router = APIRouter()
YEAR_S = 365 * 24 * 3600


@router.get("/")
async def start() -> Response:
    """Go to the first page."""
    return RedirectResponse(PAGES[0].path, 303)


@router.get("/login")
async def login(request: Request) -> Response:
    """Ask for the password, or say where the address with the token is."""
    return _login(request, 200, "")


@router.post("/login")
async def try_login(request: Request) -> Response:
    """Let a browser in that knows the password."""
    form = await read_form(request)
    sessions, words = request.app.state.sessions, words_of(request)
    key = sessions.by_password(form.get("password"))
    if key is None:
        wait = sessions.must_wait()
        fault = words("login.wait") if wait else words("login.wrong")
        return _login(request, 429 if wait else 403, fault)
    return with_session(RedirectResponse("/", 303), key, cookie_name(request.app.state.port))


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End the session."""
    name = cookie_name(request.app.state.port)
    request.app.state.sessions.end(request.cookies.get(name))
    answer = PlainTextResponse("", headers={"hx-redirect": "/login"})
    answer.delete_cookie(name)
    return answer


@router.post("/preferences")
async def preferences(request: Request) -> Response:
    """Keep language or theme in the browser, and show the page anew."""
    form = await read_form(request)
    answer = PlainTextResponse("", headers={"hx-refresh": "true"})
    for name, allowed in (("language", tuple(LANGUAGES)), ("theme", THEMES)):
        if name in form.names():
            if form[name] not in allowed:
                raise DanluError(f"is none of {', '.join(allowed)}.", where=name)
            answer.set_cookie(
                f"danlu_{name}", form[name], max_age=YEAR_S, samesite="strict", httponly=True
            )
    return answer


def _login(request: Request, status: int, fault: str) -> Response:
    asks = request.app.state.sessions.asks_password
    return page(request, "frame/login.html", status=status, asks=asks, fault=fault)
