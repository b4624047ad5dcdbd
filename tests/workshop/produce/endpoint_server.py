"""A real HTTP server on this machine that answers chat completions as it is told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Does:
    """What the server does with one request.

    ``text`` answers; ``body`` is sent as it is; ``cut`` ends the connection before the last bytes;
    ``drop`` ends it before the first; ``after_s`` waits first.
    """

    text: str | None = None
    status: int = 200
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: dict[str, Any] = field(default_factory=dict)
    finish: str = "stop"
    usage: dict[str, int] | None = field(
        default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 5}
    )
    after_s: float = 0.0
    cut: bool = False
    drop: bool = False

    def payload(self) -> bytes:
        if self.body is not None:
            return self.body.encode()
        message = {"role": "assistant", "content": self.text, **self.message}
        body: dict[str, Any] = {"choices": [{"message": message, "finish_reason": self.finish}]}
        if self.usage is not None:
            body["usage"] = self.usage
        return json.dumps(body, ensure_ascii=False).encode()


Script = Callable[[dict[str, Any], int], Does]
"""What to do with a request's body, asked for the n-th time (from 1) with these messages."""


def said(body: dict[str, Any]) -> str:
    """What the last message says."""
    return str(body["messages"][-1]["content"])


class Server:
    """The server: ``asked`` counts by the last message, ``bodies`` and ``times`` have all."""

    def __init__(self, script: Script, port: int = 0) -> None:
        self.script = script
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", port), _handler(self))
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def decide(self, body: dict[str, Any], headers: dict[str, str]) -> Does:
        with self._lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            self.asked[said(body)] += 1
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            time_ = self.asked[said(body)]
        return self.script(body, time_)

    def leave(self) -> None:
        with self._lock:
            self.under_way -= 1

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions", self.path
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            try:
                does = server.decide(body, dict(self.headers))
                time.sleep(does.after_s)
            finally:
                server.leave()
            if does.drop:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            payload = does.payload()
            self.send_response(does.status)
            for name, value in does.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if does.cut:
                self.wfile.write(payload[: len(payload) // 2])
                self.close_connection = True
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.wfile.write(payload)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def serving(script: Script, port: int = 0) -> Iterator[Server]:
    server = Server(script, port)
    try:
        yield server
    finally:
        server.close()


def echo(body: dict[str, Any], time_: int) -> Does:
    """Answers with what was said."""
    return Does(f"You said: {said(body)}")
