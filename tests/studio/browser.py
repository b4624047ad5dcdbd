"""A real browser for the studio's tests: chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.studio.running import Running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
AXE = Path(__file__).parent / "assets" / "axe.min.js"
SIZE = {"width": 1280, "height": 900}
SLOW_MS = 240_000
"""A busy machine is no fault of the page."""


@contextmanager
def browser() -> Iterator[Any]:
    """Start a browser; the test is skipped, saying so, where there is none."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed, so no page is tried in a browser")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        try:
            yield started
        finally:
            started.close()


class Visit:
    """One browser window that was let in, and all that went wrong in it.

    Attributes:
        page: Playwright's.
        url: Of the studio.
        faults: Errors of scripts, of the console, and requests to another host.
    """

    def __init__(self, started: Any, studio: Running, **settings: Any) -> None:
        self.faults: list[str] = []
        self.context = started.new_context(**{"viewport": SIZE, "locale": "en-GB", **settings})
        self.context.set_default_timeout(SLOW_MS)
        self.page = self.context.new_page()
        self.url = studio.url
        own = urlsplit(studio.url).netloc
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("console", self._console)
        self.page.on(
            "request",
            lambda request: (
                None
                if urlsplit(request.url).netloc in (own, "")
                else self.faults.append(f"asked {request.url}")
            ),
        )
        self.page.goto(f"{studio.url}/?token={studio.sessions.token}")

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def go(self, path: str) -> Any:
        """Open a page of the studio, and wait until it is quiet."""
        self.page.goto(self.url + path, wait_until="load")
        return self.page

    def accessibility(self) -> list[str]:
        """Return what axe finds wrong with the page as it is."""
        # The policy forbids inline scripts, and evaluate needs none.
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {node['html'][:120]} ({node['failureSummary']})"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    def drawn(self) -> int:
        """Return the last step that the curves show."""
        return int(self.page.locator("#charts[data-drawn]").get_attribute("data-drawn"))

    def close(self) -> None:
        """Close the window; faults are looked at by who opened it."""
        self.context.close()
