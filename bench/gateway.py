"""What Danlu's gateway adds: the same requests to an upstream, directly and through it.

The upstream answers at once (a stream's pieces 1 ms apart), in a process of its own, and so does
the gateway. Requests go the one way and the other in turn, one at a time over connections that stay
open, so that whatever else the machine does hits both alike. The client is bare sockets: nothing of
its own is in the way.
"""

from __future__ import annotations

import json
import re
import socket
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from bench.cases import GATEWAY, GATEWAY_REQUESTS, GATEWAY_SECONDS
from bench.results import Goal, Result
from bench.serving import free_port, running_server

BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "Who are you, and what is a furnace? " * 8}],
    "max_tokens": 64,
    "temperature": 0,
}


class Client:
    """One connection that stays open."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> float:
        """Send a request, and return the seconds until its answer is whole."""
        began = time.perf_counter()
        self._socket.sendall(request)
        data = self._socket.recv(65536)
        while not _is_whole(data):
            more = self._socket.recv(65536)
            if not more:
                raise RuntimeError("the server has closed the connection")
            data += more
        seconds = time.perf_counter() - began
        if not data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(data[:300].decode())
        return seconds

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def _is_whole(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    length = re.search(rb"content-length: (\d+)", head)
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


def request_bytes(body: dict[str, Any]) -> bytes:
    """Return a request as it goes over the wire."""
    data = json.dumps(body).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
    )


def measure_gateway(say: Callable[[str], None], requests: int = GATEWAY_REQUESTS) -> Result:
    """Ask for whole answers and for streams, directly and through the gateway."""
    there, here = free_port(), free_port()
    upstream = f"http://127.0.0.1:{there}"
    instant = [sys.executable, "-m", "bench.instant_server", str(there)]
    serve = [sys.executable, "-m", "danlu", "serve", "--upstream", upstream, "--port", str(here)]
    details: dict[str, Any] = {"requests": requests}
    with (
        running_server(instant, f"{upstream}/v1/models"),
        running_server(serve, f"http://127.0.0.1:{here}/healthz") as started,
    ):
        process = psutil.Process(started.pid)
        for name, body in (("whole", BODY), ("stream", {**BODY, "stream": True})):
            count = requests // 4 if name == "stream" else requests  # they take so much longer
            details[name] = _both_ways(there, here, process, request_bytes(body), count)
            say(
                f"{GATEWAY}: {name} {details[name]['direct_median_s'] * 1e3:.2f} ms directly, "
                f"{details[name]['gateway_median_s'] * 1e3:.2f} ms through the gateway"
            )
        details["ready_s"] = started.ready_s
        memory = process.memory_info().rss
    whole, stream = details["whole"], details["stream"]
    return Result(
        name=GATEWAY,
        unit="requests/s",
        danlu=1 / whole["gateway_median_s"],
        peer=1 / whole["direct_median_s"],
        ratio=whole["direct_median_s"] / whole["gateway_median_s"],
        peak_bytes=memory,
        goals=(
            Goal("seconds added, median", whole["added_median_s"], GATEWAY_SECONDS, "at most"),
            Goal(
                "seconds added to a stream, median",
                stream["added_median_s"],
                GATEWAY_SECONDS,
                "at most",
            ),
        ),
        details={**details, "peer_name": "directly"},
    )


def _both_ways(
    there: int, here: int, process: psutil.Process, request: bytes, requests: int
) -> dict[str, float]:
    direct, through = Client(there), Client(here)
    for _ in range(50):
        direct.ask(request), through.ask(request)
    before = sum(process.cpu_times()[:2])
    pairs = [(direct.ask(request), through.ask(request)) for _ in range(requests)]
    used = sum(process.cpu_times()[:2]) - before
    direct.close(), through.close()
    directly, passed = zip(*pairs, strict=True)
    added = sorted(b - a for a, b in pairs)
    return {
        "direct_median_s": statistics.median(directly),
        "gateway_median_s": statistics.median(passed),
        "added_median_s": statistics.median(passed) - statistics.median(directly),
        "added_p95_s": added[int(0.95 * len(added))],
        "gateway_processor_s": used / requests,
    }
