"""Starting a server, and ending it well."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import uvicorn

from danlu.serving import listening as sockets
from danlu.serving.patience import patient
from danlu.serving.server.app import make_app
from danlu.serving.server.settings import ServerSettings

if TYPE_CHECKING:
    from danlu.serving.gateway.routed import Routed
    from danlu.serving.server.served import Served


def listen(settings: ServerSettings) -> socket.socket:
    """Take the address before any model is loaded, so that a taken one is told at once.

    Raises:
        DanluError: If it cannot be had.
    """
    return sockets.listen(settings.host, settings.port)


def serve(
    served: Sequence[Served],
    settings: ServerSettings,
    listening: socket.socket,
    ready: Callable[[str], None],
    *,
    routed: Sequence[Routed] = (),
) -> None:
    """Serve until SIGTERM or Ctrl-C; answers under way then have some time to end.

    Args:
        served: The models that are answered for in this process.
        settings: How they are served.
        listening: From ``listen``.
        ready: Called with the address once requests are taken.
        routed: The models that other servers answer for.
    """
    app = make_app(served, settings, routed)
    config = uvicorn.Config(
        app,
        log_level=logging.WARNING,
        access_log=False,
        timeout_graceful_shutdown=int(settings.drain_s) + 5,
        http=patient(settings.client_s),
        h11_max_incomplete_event_size=64 * 1024,
        timeout_keep_alive=30,
    )
    server = sockets.ReadyServer(
        config, lambda: ready(sockets.address(listening)), app.state.server.close
    )
    server.run(sockets=[listening])
