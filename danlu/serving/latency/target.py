"""What is measured: a server that runs, or a run that is served for the while."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx2
import psutil

from danlu.errors import DanluError, did_you_mean
from danlu.serving.engines.child import Child, free_port, own_module
from danlu.serving.gateway.routed import Upstream
from danlu.serving.server.settings import LOOPBACK

SAMPLE_S = 0.25
START_S = 600.0


@dataclass(frozen=True)
class Named:
    """A server or a run, and what it is called on the card.

    Attributes:
        name: On the card.
        place: ``http://…``, a run directory, a folder, a GGUF file or ``builtin:NAME``.
    """

    name: str
    place: str

    @classmethod
    def of(cls, text: str) -> Named:
        """Read ``NAME=PLACE``, or a place, whose host or last part is then the name.

        Example:
            >>> Named.of("Q8_0=my/m.gguf"), Named.of("http://127.0.0.1:8000/v1").name
            (Named(name='Q8_0', place='my/m.gguf'), '127.0.0.1:8000')
        """
        name, equals, place = text.partition("=")
        if equals and name and place and "://" not in name and not Path(text).exists():
            return cls(name, place)
        if "://" in text:
            return cls(urlsplit(text).netloc or text, text)
        plain = text.removeprefix("builtin:").rstrip("/")
        return cls(Path(plain).name or plain, text)

    @property
    def runs(self) -> bool:
        """Whether it is a server that runs already."""
        return "://" in self.place


@dataclass(frozen=True)
class Ready:
    """A server that can be asked.

    Attributes:
        upstream: Where.
        model: What for.
        process: Its process, if it is on this machine and ours to look at.
    """

    upstream: Upstream
    model: str
    process: psutil.Process | None


@contextmanager
def ready(
    named: Named, *, model: str | None, key: str | None, options: Sequence[str]
) -> Iterator[Ready]:
    """Give a server that answers; one that was started for this ends after.

    Args:
        named: What is to be measured.
        model: What the server calls its model; None if it has only one.
        key: API key.
        options: For ``danlu serve``, where it is started.

    Raises:
        DanluError: If it cannot be asked or started, or has several models and none is named.
    """
    with ExitStack() as stack:
        process: psutil.Process | None
        if named.runs:
            upstream = Upstream(named.place, key)
            process = listening_process(upstream.root)
        else:
            upstream = Upstream(f"http://127.0.0.1:{free_port()}")
            child = stack.enter_context(_served(named, upstream, options))
            process = psutil.Process(child.pid)
        yield Ready(upstream, _model(upstream, model), process)


def _served(named: Named, upstream: Upstream, options: Sequence[str]) -> Child:
    """Start ``danlu serve`` and wait until it answers."""
    port = upstream.root.rpartition(":")[2]
    command = ["serve", f"m={named.place}", "--port", port, *options]
    child = Child.kept(f"danlu serve {named.place}", [*own_module("danlu"), *command])
    try:
        with httpx2.Client(timeout=5, trust_env=False) as client:
            child.wait_until(lambda: _healthy(client, upstream), START_S)
    except BaseException:
        child.close()
        raise
    return child


def _healthy(client: httpx2.Client, upstream: Upstream) -> bool:
    try:
        return client.get(f"{upstream.root}/healthz").status_code == 200
    except httpx2.HTTPError:
        return False


def _model(upstream: Upstream, wanted: str | None) -> str:
    there = list(upstream.models())
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted in there:
        return str(wanted)
    what = f"has no model {wanted!r}" if wanted else f"has {len(there)} models"
    hint = did_you_mean(wanted, there) if wanted else " Name one by --model."
    raise DanluError(
        f"the server {what}; there are {', '.join(there[:8])}.{hint}", where=upstream.address
    )


def listening_process(address: str) -> psutil.Process | None:
    """Return the process of this machine that listens at an address; None if it cannot be seen."""
    place = urlsplit(address)
    if place.hostname not in LOOPBACK or not place.port:
        return None
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            for one in process.net_connections(kind="tcp"):
                if one.status == psutil.CONN_LISTEN and one.laddr.port == place.port:
                    return process
    return None


class PeakMemory:
    """Watches how much memory a process and its children hold; a context manager.

    Attributes:
        peak_bytes: The most seen; None if nothing was.
    """

    def __init__(self, process: psutil.Process | None) -> None:
        self.peak_bytes: int | None = None
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        assert self._process is not None
        while True:
            total = 0
            with suppress(psutil.Error):
                for one in (self._process, *self._process.children(recursive=True)):
                    with suppress(psutil.Error):
                        total += one.memory_info().rss
            if total:
                self.peak_bytes = max(self.peak_bytes or 0, total)
            if self._over.wait(SAMPLE_S):
                return

    def __enter__(self) -> Self:
        if self._process is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._process is not None:
            self._thread.join()
