"""Starting a server, and ending it well."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import uvicorn

from danlu.errors import DanluError
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
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named, because asyncio sends at once (TCP_NODELAY) only where it is: else an
    # answer in two writes waits 40 ms for the client's acknowledgement of the first.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((settings.host, settings.port))
    except OSError as error:
        taken.close()
        raise DanluError(
            f"cannot listen there ({error.strerror or error}): another server may do so. Choose "
            "another --port, or 0 for any that is free.",
            where=f"{settings.host}:{settings.port}",
        ) from error
    return taken


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
    host, port = listening.getsockname()[:2]
    config = uvicorn.Config(
        make_app(served, settings, routed),
        log_level=logging.WARNING,
        access_log=False,
        timeout_graceful_shutdown=int(settings.drain_s) + 5,
        h11_max_incomplete_event_size=64 * 1024,
        timeout_keep_alive=30,
    )
    server = _Server(config, lambda: ready(f"http://{f'[{host}]' if ':' in host else host}:{port}"))
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()
