"""An engine on a real server whose model says what a function tells it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.endpoint import Endpoint
from danlu.workshop.produce.engine import Engine
from danlu.workshop.produce.pace import Pacing
from danlu.workshop.produce.request import Request
from danlu.workshop.store.decision import Decision
from tests.workshop.produce.endpoint_server import Does, Server, said, serving

QUICK = Pacing(concurrency=4, attempts=2, first_wait_s=0.01)
Says = Callable[[str, dict[str, Any]], str | Does]
"""What the model says to the last message, given also the whole body."""


@contextmanager
def speaking(says: Says, folder: Path, **settings: Any) -> Iterator[tuple[Engine, Server]]:
    def script(body: dict[str, Any], time_: int) -> Does:
        done = says(said(body), body)
        return done if isinstance(done, Does) else Does(done)

    with (
        serving(script) as server,
        RequestCache(folder / "requests.sqlite") as cache,
        Engine(Endpoint(server.url, "strong"), cache, pacing=QUICK, **settings) as engine,
    ):
        yield engine, server


def asks(id_: str, prompt: str, task_type: str = "a/b", **more: Any) -> Record:
    return Record(id_, task_type, (Message("user", prompt),), **more)


def talk(id_: str, prompt: str, answer: str, task_type: str = "a/b", **more: Any) -> Record:
    messages = (Message("user", prompt), Message("assistant", answer))
    return Record(id_, task_type, messages, **more)


def decided(maker: Any, *records: Record) -> list[Decision]:
    return list(maker.decide(records, lambda stage, done, total: None))


def fates(decisions: list[Decision]) -> list[tuple[str, str]]:
    return [(one.entry.fate, one.entry.rule) for one in decisions]


def sample_of(body: dict[str, Any], item: str) -> int:
    """Return which sample of an item a body asks for."""
    seeds = [Request((), Sampling(), sample, item).seed for sample in range(10)]
    return seeds.index(body["seed"])


def made(decisions: list[Decision]) -> list[Record]:
    return [one.record for one in decisions if one.entry.fate == "made"]
