"""Listening on an address, and a server that says when it is ready; shared with the studio."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from danlu.errors import DanluError


def listen(host: str, port: int) -> socket.socket:
    """Take an address before anything slow is done, so that a taken one is told at once.

    Raises:
        DanluError: If it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, because asyncio sends at once (TCP_NODELAY) only where it is: else an
    # answer in two writes waits 40 ms for the client's acknowledgement of the first.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        raise DanluError(
            f"cannot listen there ({error.strerror or error}): another server may do so. Choose "
            "another --port, or 0 for any that is free.",
            where=f"{host}:{port}",
        ) from error
    return taken


def address(listening: socket.socket) -> str:
    """Return where a socket is reached: ``http://127.0.0.1:8000``."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class ReadyServer(uvicorn.Server):
    """A server that says when it is ready, and when it is asked to end.

    Args:
        config: Of uvicorn.
        ready: Called once requests are taken.
        leaving: Called at SIGTERM or Ctrl-C, while answers are still open.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None],
        leaving: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._leaving = leaving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        self._leaving()
        super().handle_exit(sig, frame)
