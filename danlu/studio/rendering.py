"""Pages and parts of pages: Jinja with everything escaped, words in the reader's language."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, get_args

from fastapi import Request
from fastapi.responses import HTMLResponse

from danlu.runs import wording
from danlu.studio.check_words import CheckWords
from danlu.studio.language import LANGUAGES, Language, Words, preferred

if TYPE_CHECKING:
    from jinja2 import Environment

THEMES = ("system", "light", "dark")


def words_of(request: Request) -> Words:
    """Return the words of the language a browser has chosen, or prefers."""
    chosen = request.cookies.get("danlu_language", "")
    if chosen in get_args(Language):
        return Words("zh" if chosen == "zh" else "en")
    return Words(preferred(request.headers.get("accept-language", "")))


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Fill a template that extends ``base.html``, or a part that HTMX puts into a page.

    Args:
        request: Says language, theme and session.
        template: Its path under ``templates``.
        status: Of the answer.
        values: What the template reads, besides what every template has: ``t`` (words), ``page``,
            ``pages``, ``language``, ``theme``, ``csrf``, ``asset``, ``check_words``.
    """
    from danlu.studio.pages import PAGES, page_of

    words = words_of(request)
    theme = request.cookies.get("danlu_theme", "system")
    session = getattr(request.state, "session", None)
    shared = {
        "t": words,
        "duration": words.duration,
        "meaning": words.meaning,
        "kind": words.kind,
        "finding": words.finding,
        "remedy": words.remedy,
        "check_words": CheckWords(words.language),
        "setting": lambda setting: words.meaning(setting.path, setting.meaning),
        "language": words.language,
        "languages": LANGUAGES,
        "theme": theme if theme in THEMES else "system",
        "themes": THEMES,
        "csrf": session.csrf if session else "",
        "asset": asset,
        "page": page_of(request.url.path),
        "pages": PAGES,
        "path": request.url.path,
        "locked": request.app.state.sessions.asks_password,
        "workspace": request.app.state.workspace,
    }
    text = environment().get_template(template).render({**shared, **values})
    return HTMLResponse(text, status_code=status)


@cache
def environment() -> Environment:
    """Return the templates."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader("danlu.studio", "templates"),
    )
    made.filters.update(wording.filters())
    return made


def warm() -> None:
    """Make all templates ready, while nobody has asked yet: the first look at a page is faster."""
    made = environment()
    for name in made.list_templates():
        made.get_template(name)


@cache
def asset(name: str) -> str:
    """Return the address of a file of ``assets``; it changes with the file, so browsers keep it.

    Example:
        >>> asset("studio.css").startswith("/assets/studio.css?v=")
        True
    """
    content = (resources.files("danlu.studio") / "assets" / name).read_bytes()
    return f"/assets/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"
