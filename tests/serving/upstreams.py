"""Other servers, as a gateway meets them: well-behaved, broken, and gone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answering = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Upstream:
    """A server over bare sockets: every byte that it sends is the test's own."""

    answering: Answering
    address: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    left: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self.one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, unless who asks leaves; return whether another may come."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.asked.append(Asked(method, path, headers, body))
        answer = asyncio.ensure_future(self.answering(self.asked[-1], writer))
        while not answer.done() and not reader.at_eof():
            await asyncio.wait({answer}, timeout=0.005)
        if not answer.done():
            self.left += 1
            answer.cancel()
            return False
        answer.result()
        return not writer.is_closing()


def response(body: object, status: int = 200, kind: str = "application/json") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextmanager
def upstream(answering: Answering) -> Iterator[Upstream]:
    """Run a server in a thread of its own."""
    made = Upstream(answering)
    loop = asyncio.new_event_loop()
    began = threading.Event()
    ended = asyncio.Event()

    async def serve() -> None:
        async with await asyncio.start_server(made.handle, "127.0.0.1", 0) as server:
            made.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            began.set()
            await ended.wait()
            server.close()
            own = asyncio.current_task()
            for task in asyncio.all_tasks() - {own}:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await asyncio.sleep(0)  # transports close

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert began.wait(10)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
