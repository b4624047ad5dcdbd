"""A server in a thread, over tiny or scripted models, at a free port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import uvicorn

from danlu.generation.engine import Engine, EngineLimits
from danlu.generation.interface import Sampling
from danlu.generation.local import TransformersGenerator
from danlu.generation.rows import KeyValues, Part, SideBySide, use_rows_attention
from danlu.sequences.template import ChatTemplate
from danlu.serving.gateway.routed import Routed
from danlu.serving.patience import patient
from danlu.serving.server.app import make_app
from danlu.serving.server.calls import call_form
from danlu.serving.server.run import listen
from danlu.serving.server.served import Served
from danlu.serving.server.settings import ServerSettings
from tests.tiny_models import tiny_llama


class Script:
    """A backend whose answers are given: token after token, whatever was asked."""

    shares_beginnings = False

    def __init__(self, token_ids: Sequence[int], size: int) -> None:
        self.token_ids, self.size = token_ids, size

    def keys(self) -> KeyValues:
        keys = KeyValues()
        keys.drawn = 0
        return keys

    def logits(self, parts: Sequence[Part]) -> torch.Tensor:
        logits = torch.zeros(len(parts), self.size)
        for row, part in enumerate(parts):
            logits[row, self.token_ids[part.keys.drawn]] = 50.0
            part.keys.drawn += 1
            part.keys.length += len(part.token_ids)
        return logits


def tiny_served(tokenizer: Any, name: str = "tiny", *, context: int = 256, **limits: int) -> Served:
    """A random model of two layers; greedy unless a request says otherwise."""
    model = tiny_llama(vocabulary=len(tokenizer), max_position_embeddings=context)
    assert use_rows_attention(model) is None
    generator = TransformersGenerator(model, tokenizer, ChatTemplate.load(tokenizer))
    engine = Engine(SideBySide(model), generator.text_of, limits=EngineLimits(**limits))
    return Served(name, generator, engine, sampling=Sampling(), created=7)


def scripted_served(tokenizer: Any, answer: str, name: str = "scripted") -> Served:
    """A model that always gives this answer."""
    template = ChatTemplate.load(tokenizer)
    model = tiny_llama(vocabulary=len(tokenizer))
    generator = TransformersGenerator(model, tokenizer, template)
    ids = [*tokenizer(answer, add_special_tokens=False).input_ids, template.stop_ids[0]]
    engine = Engine(Script(ids, len(tokenizer)), generator.text_of)
    return Served(name, generator, engine, calls=call_form(template))


@contextmanager
def serving(*served: Served, routed: Sequence[Routed] = (), **settings: Any) -> Iterator[str]:
    """Serve in a thread, and give the address."""
    with serving_to_close(*served, routed=routed, **settings) as (address, _):
        yield address


@contextmanager
def serving_to_close(
    *served: Served, routed: Sequence[Routed] = (), **settings: Any
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve in a thread, and give the address and what SIGTERM does first."""
    wanted = ServerSettings(port=0, **{"drain_s": 1, **settings})
    listening = listen(wanted)
    app = make_app(served, wanted, routed)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        http=patient(wanted.client_s),
        timeout_keep_alive=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", app.state.server.close
    finally:
        server.should_exit = True
        thread.join()
