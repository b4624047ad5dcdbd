"""An upstream that answers at once: what is left of a request's time is the gateway's.

``python -m bench.instant_server PORT``
"""

from __future__ import annotations

import asyncio
import json
import sys

TEXT = "The furnace is hot. " * 12
HEAD = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
USAGE = {"prompt_tokens": 30, "completion_tokens": 60, "total_tokens": 90}
MESSAGE = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
WHOLE = json.dumps({**HEAD, "choices": [MESSAGE], "usage": USAGE}).encode()
PIECE_S = 0.001
"""Between pieces of a stream; engines take longer."""
MODELS = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
PIECES = [
    json.dumps(
        {
            **HEAD,
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"content": word}}],
        }
    ).encode()
    for word in TEXT.split()[:24]
]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, found, rest = head.partition(b"content-length:")
            body = await reader.readexactly(int(rest.split(b"\r\n")[0]) if found else 0)
            if b"/v1/models" in head:
                _send(writer, MODELS)
            elif b'"stream": true' in body:
                await _stream(writer)
            else:
                _send(writer, WHOLE)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(body) + body)


async def _stream(writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    writer.write(head + b"transfer-encoding: chunked\r\n\r\n")
    for piece in (*PIECES, b"[DONE]"):
        event = b"data: %s\n\n" % piece
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await asyncio.sleep(PIECE_S)
    writer.write(b"0\r\n\r\n")


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
