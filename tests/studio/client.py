"""A studio that is asked in this process, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from danlu.studio.app import make_app
from danlu.studio.sessions import Sessions
from danlu.studio.settings import StudioSettings


def entered(workspace: Path, **headers: str) -> tuple[TestClient, Any]:
    """A browser that was let in and sends the CSRF token, and what pages share."""
    sessions = Sessions(None)
    guard = make_app(StudioSettings(workspace=workspace, port=0), sessions)
    client = TestClient(guard, base_url="http://127.0.0.1", headers={"accept": "text/html"})
    client.get("/", params={"token": sessions.token}).raise_for_status()
    (key,) = client.cookies.values()
    session = sessions.find(key)
    assert session is not None
    client.headers["x-csrf-token"] = session.csrf
    client.headers.update(headers)
    return client, guard.app.state.shared
