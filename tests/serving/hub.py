"""A small hub: the few routes that huggingface_hub asks to upload, over a real socket."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TOKEN = "hf_test_token_of_nobody"


class Hub:
    """What was made and uploaded.

    Attributes:
        repos: By name: whether each is private.
        files: Of the last commit, by path.
        refuses: Status of every answer, if not 200.
    """

    def __init__(self) -> None:
        self.repos: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.summary = ""
        self.refuses = 0
        self.address = ""

    def answer(self, path: str, token: str, body: bytes) -> tuple[int, Any]:
        """Answer a request."""
        if self.refuses or token != f"Bearer {TOKEN}":
            return self.refuses or 401, {"error": f"You may not, with {token}"}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in self.repos:
                return 409, {"error": "You already created this model repo", "url": name}
            self.repos[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
            return 200, {"url": f"{self.address}/{name}"}
        if "/preupload/" in path:
            asked = json.loads(body)["files"]
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in asked
            ]
            return 200, {"files": files}
        if "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            self.summary = lines[0]["value"]["summary"]
            for one in lines[1:]:
                value = one["value"]
                assert value["encoding"] == "base64"
                self.files[value["path"]] = base64.b64decode(value["content"])
            commit = hashlib.sha1(body).hexdigest()
            return 200, {"commitOid": commit, "commitUrl": f"{self.address}/me/x/commit/{commit}"}
        return 200, {"sha": "0" * 40, "siblings": [], "id": "me/x"}


@contextmanager
def hub() -> Iterator[Hub]:
    """Run a hub in a thread."""
    state = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

        def _answer(self, body: bytes) -> None:
            status, said = state.answer(self.path, self.headers.get("authorization", ""), body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
