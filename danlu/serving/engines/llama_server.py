"""llama.cpp's own server for one GGUF file, in a process of its own: a broken file ends that only.

``python -m danlu.serving.engines.llama_server`` reads one line of JSON, writes where it listens to
the file named there, and ends when its standard input is closed.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from danlu.generation.interface import Sampling
from danlu.serving.engines.child import Child, own_module
from danlu.serving.gateway.routed import Upstream
from danlu.serving.needs import must_have

CONTEXT_TOKENS = 16_384
"""Room for keys and values, shared by all chats: 2 GB for an ordinary model of 7B."""
LAYERS_ON_GPU = 999
"""All of them; a build of llama.cpp without a GPU takes no notice."""


@dataclass(frozen=True)
class LlamaSettings:
    """What llama.cpp is started with.

    Attributes:
        file: The GGUF file.
        name: What the model is called.
        rows: Answers computed at a time.
        context_tokens: Of all chats at a time together.
        threads: Of the processor.
        gpu: Whether it may use one.
    """

    file: str
    name: str
    rows: int
    context_tokens: int
    threads: int
    gpu: bool


def start_llama(settings: LlamaSettings, seconds: float) -> tuple[Child, Upstream]:
    """Start llama.cpp and wait until it answers.

    Raises:
        DanluError: If it is not installed, or does not come up.
    """
    must_have("xllamacpp", extra="gguf")
    key = f"sk-engine-{secrets.token_urlsafe(32)}"
    with tempfile.TemporaryDirectory(prefix="danlu-llama-") as folder:
        told = Path(folder) / "address"
        line = json.dumps({**asdict(settings), "key": key, "told": str(told)}) + "\n"
        child = Child(
            f"llama.cpp for {settings.name}",
            own_module("danlu.serving.engines.llama_server"),
            stdin=line.encode(),
        )
        try:
            child.wait_until(told.exists, seconds)
            return child, Upstream(told.read_text("utf-8"), key)
        except BaseException:
            child.close()
            raise


def _serve() -> None:
    """Serve until standard input is closed."""
    given = json.loads(sys.stdin.readline())
    from danlu.serving.engines.keeper import when_abandoned

    # llama.cpp frees its memory with the process; to end it in order would wait for its answers.
    when_abandoned(lambda: os._exit(0))
    import xllamacpp

    plain = Sampling()
    params = xllamacpp.CommonParams()
    params.model.path = given["file"]
    params.model_alias = {given["name"]}
    params.api_keys = [given["key"]]
    params.hostnames = ["127.0.0.1"]
    params.n_ctx = given["context_tokens"]
    params.n_parallel = given["rows"]
    params.kv_unified = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given["threads"]
    params.n_gpu_layers = LAYERS_ON_GPU if given["gpu"] else 0
    params.fit_params = params.ui = params.endpoint_slots = False
    params.verbosity = 1
    # What holds where a request does not say: as in Danlu's own engine.
    params.sampling.temp, params.sampling.top_p = plain.temperature, plain.top_p
    params.sampling.top_k, params.sampling.min_p = 0, 0.0
    server = xllamacpp.Server(params)
    told = Path(given["told"])
    fresh = told.with_name("address.new")
    fresh.write_text(server.listening_address, "utf-8")
    fresh.replace(told)
    threading.Event().wait()


if __name__ == "__main__":
    _serve()
