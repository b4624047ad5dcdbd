"""A studio that runs in a thread, and what speaks to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from danlu.serving.listening import address, listen
from danlu.studio.app import make_app
from danlu.studio.guard import Guard
from danlu.studio.sessions import Sessions
from danlu.studio.settings import StudioSettings


@dataclass
class Running:
    """A studio, and who may look."""

    url: str
    sessions: Sessions
    guard: Guard

    @property
    def app(self) -> Any:
        return self.guard.app

    def client(self, **settings: Any) -> httpx2.Client:
        """A browser that nobody let in."""
        return httpx2.Client(base_url=self.url, **settings)

    @contextmanager
    def entered(self) -> Iterator[httpx2.Client]:
        """A browser that was let in, and sends the CSRF token with every request."""
        with self.client(headers={"accept": "text/html"}, follow_redirects=True) as client:
            client.get("/", params={"token": self.sessions.token}).raise_for_status()
            (key,) = client.cookies.values()
            session = self.sessions.find(key)
            assert session is not None
            client.headers["x-csrf-token"] = session.csrf
            yield client


@contextmanager
def running(workspace: Path, **settings: Any) -> Iterator[Running]:
    """Run a studio over a workspace."""
    wanted = StudioSettings(workspace=workspace, port=0, **settings)
    listening = listen("127.0.0.1", 0)
    sessions = Sessions(wanted.password)
    guard = make_app(wanted, sessions, listening.getsockname()[1])
    config = uvicorn.Config(guard, log_level="warning", access_log=False, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield Running(address(listening), sessions, guard)
    finally:
        guard.close()
        server.should_exit = True
        thread.join()
