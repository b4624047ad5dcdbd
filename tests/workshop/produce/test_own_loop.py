"""The engine's loop: in the caller's thread, or beside a loop that is running there."""

import asyncio
import os
import signal
import threading

import pytest

from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.endpoint import Endpoint
from danlu.workshop.produce.engine import Engine
from danlu.workshop.produce.own_loop import OwnLoop
from tests.workshop.produce.asking import QUICK
from tests.workshop.produce.endpoint_server import echo, serving
from tests.workshop.produce.test_engine import asks, texts


async def where():
    return threading.current_thread(), asyncio.get_running_loop()


def test_the_thread_is_the_callers_until_a_loop_runs_there():
    own = OwnLoop()

    async def notebook():
        return own.run(where()), own.run(where())

    alone, loop = own.run(where())
    assert alone is threading.main_thread()
    (first, first_loop), (second, second_loop) = asyncio.run(notebook())
    assert first is second is not threading.main_thread()
    # All run in one loop, to which connections are bound.
    assert loop is first_loop is second_loop is own.run(where())[1]
    own.close()
    assert not first.is_alive()


def test_faults_reach_the_caller_and_the_loop_goes_on():
    own = OwnLoop()

    async def fails():
        raise ValueError("broken")

    async def notebook():
        with pytest.raises(ValueError, match="broken"):
            own.run(fails())
        return own.run(where())

    thread, _ = asyncio.run(notebook())
    assert thread.is_alive()
    own.close()


def test_interrupted_work_tidies_up():
    own, tidied = OwnLoop(), []

    async def long():
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(60)
        finally:
            tidied.append(True)

    async def notebook():
        # As a notebook does, which knows nothing of asyncio.run and its own way with Ctrl-C.
        with pytest.raises(KeyboardInterrupt):
            own.run(long())
        return own.run(where())

    kernel = asyncio.new_event_loop()
    thread, _ = kernel.run_until_complete(notebook())
    kernel.close()
    assert tidied
    assert thread.is_alive()
    own.close()


def test_the_engine_answers_inside_a_running_loop(tmp_path):
    async def notebook(server):
        with (
            RequestCache(tmp_path / "requests") as cache,
            Engine(Endpoint(server.url, "m"), cache, pacing=QUICK) as engine,
        ):
            first = texts(engine.ask(asks("a", "b")))
            return first, texts(engine.ask(asks("b", "c")))

    with serving(echo) as server:
        first, second = asyncio.run(notebook(server))
        assert len(server.bodies) == 3
    assert first == ["You said: a", "You said: b"]
    assert second == ["You said: b", "You said: c"]
