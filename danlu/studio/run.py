"""Starting the studio, and ending it well."""

from __future__ import annotations

import logging
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from danlu.serving.listening import ReadyServer, address
from danlu.studio.app import make_app
from danlu.studio.rendering import warm
from danlu.studio.sessions import Sessions
from danlu.studio.settings import StudioSettings

LAST_S = 3
"""How long open answers may go on when the studio ends."""


def serve(
    settings: StudioSettings,
    listening: socket.socket,
    *,
    open_browser: bool,
    ready: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C; jobs that pages started go on.

    Args:
        settings: How.
        listening: From ``danlu.serving.listening.listen``.
        open_browser: Open a browser once it is ready.
        ready: Called with the address to open once requests are taken.
    """
    sessions = Sessions(settings.password)
    guard = make_app(settings, sessions, listening.getsockname()[1])
    base = address(listening)

    def is_ready() -> None:
        threading.Thread(target=warm, daemon=True).start()
        ready(base if sessions.asks_password else f"{base}/?token={sessions.token}")
        if open_browser:
            # A browser may take seconds to answer, and its command line is seen by others.
            key = f"/?token={sessions.once()}"
            threading.Thread(target=webbrowser.open, args=(base + key,), daemon=True).start()

    config = uvicorn.Config(
        guard,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_S,
        h11_max_incomplete_event_size=64 * 1024,
    )
    ReadyServer(config, is_ready, guard.close).run(sockets=[listening])
