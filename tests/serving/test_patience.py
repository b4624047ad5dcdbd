"""Clients who are slow on purpose are let go, and hold nobody else up: over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from danlu.serving.listening import listen
from danlu.serving.patience import _Patient, patient

CLIENT_S = 0.3
MUCH = 1 << 20
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


class App:
    """Answers at once; ``/much`` without end, ``/early`` before the body is there."""

    def __init__(self):
        self.sent = 0
        self.left = threading.Event()

    async def __call__(self, scope, receive, send):
        start = {"type": "http.response.start", "status": 200, "headers": []}
        end = {"type": "http.response.body", "body": b"ok"}
        if scope["path"] == "/much":
            await send(start)
            message = {}
            while message.get("type") != "http.disconnect":
                self.sent += MUCH
                await send({"type": "http.response.body", "body": bytes(MUCH), "more_body": True})
                try:
                    message = await asyncio.wait_for(receive(), 0.001)
                except TimeoutError:
                    continue
            self.left.set()
        elif scope["path"] == "/early":
            await send({**start, "headers": [(b"content-length", b"2")]})
            await send(end)
        else:
            while (await receive()).get("more_body"):
                pass
            await send({**start, "headers": [(b"content-length", b"2")]})
            await send(end)


@contextmanager
def running(app, http):
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="off", http=http, timeout_keep_alive=60
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield listening.getsockname()
    finally:
        server.force_exit = server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def app():
    return App()


@pytest.fixture(scope="module")
def place(app):
    with running(app, patient(CLIENT_S)) as at:
        yield at


def answer(connection):
    said = b""
    while not said.endswith(b"ok"):
        heard = connection.recv(4096)
        assert heard, said
        said += heard
    return said


def drip(connection, data, pause_s=0.02, seconds=10.0):
    """Send a byte now and then until the other side hangs up; return what it said, and when."""
    began = time.monotonic()
    connection.settimeout(pause_s)
    said = b""
    for position in range(int(seconds / pause_s)):
        try:
            connection.sendall(data[position % len(data) : position % len(data) + 1])
            if not (heard := connection.recv(4096)):
                break
            said += heard
        except TimeoutError:
            continue
        except ConnectionError:
            break
    else:
        raise AssertionError(f"held for {seconds} s")
    return said, time.monotonic() - began


def test_a_head_that_comes_byte_by_byte_is_cut_off_with_a_word(place):
    with socket.create_connection(place) as slow, socket.create_connection(place) as other:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        other.sendall(HEAD + b"abc")
        assert answer(other).startswith(b"HTTP/1.1 200")
        said, seconds = drip(slow, b"X: y\r\n")
    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b'"code": "slow"' in said
    assert CLIENT_S <= seconds < CLIENT_S * 4


def test_who_says_nothing_at_all_is_hung_up_on(place):
    with socket.create_connection(place, timeout=10) as silent:
        assert silent.recv(100) == b""


def test_a_second_request_on_a_kept_connection_has_the_same_limit(place):
    with socket.create_connection(place, timeout=10) as kept:
        kept.sendall(HEAD + b"abc")
        answer(kept)
        time.sleep(CLIENT_S * 1.5)  # between requests it may wait
        kept.sendall(HEAD + b"abc")
        answer(kept)
        said, seconds = drip(kept, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000)
    assert said == b""
    assert seconds < CLIENT_S * 4


def test_a_body_that_goes_on_after_the_answer_ends(place):
    """An answer that came before the body was read ends uvicorn's own limit at the next byte."""
    with socket.create_connection(place, timeout=10) as slow:
        slow.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        answer(slow)
        said, seconds = drip(slow, b"x")
    assert said == b""
    assert seconds < CLIENT_S * 4


def test_a_slow_body_is_the_applications_to_limit(place):
    with socket.create_connection(place, timeout=10) as slow:
        slow.sendall(HEAD)
        time.sleep(CLIENT_S * 2)
        slow.sendall(b"abc")
        answer(slow)


def test_who_reads_nothing_is_let_go_and_the_answer_ends(app, place):
    with socket.create_connection(place, timeout=10) as idle:
        idle.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.left.wait(30)
    assert MUCH <= app.sent < 64 * MUCH


def test_uvicorn_alone_would_hold_the_connection():
    """The reason for all this; if it fails, uvicorn has learned it and this module can go."""
    with running(App(), "auto") as at, socket.create_connection(at) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(AssertionError, match="held for"):
            drip(slow, b"X: y\r\n", seconds=CLIENT_S * 3)


class Unread:
    """A transport that was closed with an answer in it that nobody reads."""

    def __init__(self):
        self.aborted = False

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    def is_closing(self):
        return True

    def abort(self):
        self.aborted = True

    def get_extra_info(self, name):
        return None


def test_what_is_left_in_a_closed_connection_is_thrown_away():
    async def looked():
        config = uvicorn.Config(App(), log_level="error")
        config.load()
        state = uvicorn.Server(config).server_state
        given = {"config": config, "server_state": state, "app_state": {}, "_loop": None}
        protocol, transport = _Patient(0.02, **given), Unread()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        await asyncio.sleep(0.2)
        protocol.connection_lost(ConnectionAbortedError())
        return transport.aborted

    assert asyncio.run(looked())
