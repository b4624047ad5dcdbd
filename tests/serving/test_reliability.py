"""What goes wrong outside must not go wrong inside: broken, slow, hostile and very many clients."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from danlu.errors import ModelError
from danlu.generation.engine import _Row
from danlu.generation.rows import SideBySide
from tests.serving.server import scripted_served, serving, tiny_served

ASK = [{"role": "user", "content": "丹炉？"}]
BODY = {"model": "tiny", "messages": ASK, "max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module")
def tiny(tiny_tokenizer):
    return tiny_served(tiny_tokenizer)


@pytest.fixture(scope="module")
def address(tiny, tmp_path_factory):
    scripted = scripted_served(tiny.generator.tokenizer, "我叫丹炉。")
    folder = tmp_path_factory.mktemp("capture")
    with serving(tiny, scripted, capture=folder, body_bytes=50_000, longest=8) as at:
        yield at


def post(address, body, path="/v1/chat/completions", **options):
    return httpx2.post(f"{address}{path}", json=body, timeout=60, **options)


def raw(address, data=b""):
    """Open a bare connection and send some bytes."""
    place = urlsplit(address)
    connection = socket.create_connection((place.hostname, place.port), timeout=30)
    connection.sendall(data)
    return connection


def request(body, **headers):
    """Write a request as it goes over the wire."""
    data = json.dumps(body).encode()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += ["Host: x", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    head = "\r\n".join(["POST /v1/chat/completions HTTP/1.1", *lines])
    return f"{head}\r\n\r\n".encode() + data


def wait_until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_whatever_its_description_allows_and_more_is_answered_as_described(address):
    """Requests that schemathesis makes of the OpenAPI description, right and wrong ones.

    No answer may be of a status, a kind of content or a form that is not described.
    """
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    checks = [
        schemathesis.checks.not_a_server_error,
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    ]
    few = settings(
        max_examples=8,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    asked = []

    def check(case):
        found = case.call()
        asked.append(found.status_code)
        case.validate_response(found, checks=checks)

    for one in schema.get_all_operations():
        operation = one.ok()
        seed(7)(few(given(case=operation.as_strategy())(check)))()
    assert len(asked) > 40
    assert {200, 400, 404} <= set(asked)


RIGHT = [
    ("/v1/chat/completions", {**BODY, "logprobs": True, "top_logprobs": 2, "n": 2}),
    ("/v1/chat/completions", {**BODY, "model": "tools", "tools": [{"function": {"name": "f"}}]}),
    ("/v1/chat/completions", {**BODY, "stream": True}),
    ("/v1/chat/completions", {**BODY, "model": "none"}),
    ("/v1/chat/completions", {**BODY, "messages": ASK * 1000}),
    ("/v1/completions", {"model": "tiny", "prompt": "丹", "logprobs": 1}),
    ("/v1/embeddings", {"model": "tiny", "input": "丹"}),
    ("/v1/embeddings", {"model": "tiny", "input": ["丹"], "encoding_format": "base64"}),
    ("/v1/feedback", {"id": "x", "up": True}),
    ("/v1/models", None),
    ("/v1/models/tiny", None),
    ("/healthz", None),
    ("/metrics", None),
]
"""Requests that a generator of nonsense hardly finds."""


@pytest.mark.parametrize(("path", "body"), RIGHT)
def test_answers_are_as_they_are_described(address, path, body):
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    described = path.replace("/tiny", "/{name}")
    operation = schema[described]["GET" if body is None else "POST"]
    found = httpx2.get(f"{address}{path}") if body is None else post(address, body, path)
    operation.validate_response(found)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\xfe" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\n\r\nzz\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 3_000_000 + b"\r\n\r\n",
    ],
    ids=["noise", "version", "length", "chunk", "header"],
)
def test_what_is_no_http_is_refused_and_costs_only_its_connection(address, data):
    with raw(address) as connection:
        try:
            connection.sendall(data)
            said = connection.recv(4096)
        except ConnectionError:  # hung up while we were talking
            said = b""
    assert not said.startswith(b"HTTP/1.1 2")
    assert post(address, BODY).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"null", 400),
        (b"[" * 20_000, 400),
        (b'{"model": "tiny", "messages": "\xff\xfe"}', 400),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": 1e999}]}', 400),
        (b'{"model": "tiny", "n": 99999999999999999999, "messages": []}', 400),
        (b'{"model": "tiny", "stream": true, "messages": [{"role": "user\\udfff"}]}', 400),
        (json.dumps({**BODY, "messages": ASK * 5000}).encode(), 413),
        (json.dumps({**BODY, "user": "x" * 60_000}).encode(), 413),
    ],
)
def test_malformed_and_oversized_bodies_are_told_so(address, body, status):
    as_json = {"Content-Type": "application/json"}
    place = f"{address}/v1/chat/completions"
    found = httpx2.post(place, content=body, headers=as_json, timeout=60)
    assert found.status_code == status, found.text
    assert found.json()["error"]["message"]


def test_a_client_that_stops_in_the_midst_of_its_request_is_let_go(tiny_tokenizer):
    with serving(tiny_served(tiny_tokenizer), client_s=0.2) as address:
        with raw(address, request(BODY)[:-20]) as slow:
            assert b"408" in slow.recv(200).split(b"\r\n")[0]
        raw(address, request(BODY)[:-20]).close()
        assert post(address, BODY).status_code == 200


def test_clients_that_read_nothing_hold_nobody_else_up(tiny_tokenizer):
    served = tiny_served(tiny_tokenizer)
    long = {**BODY, "stream": True, "max_tokens": 200, "logprobs": True, "top_logprobs": 20, "n": 8}
    with serving(served) as address:
        silent = [raw(address, request(long)) for _ in range(4)]
        wait_until(lambda: served.engine.counts.running)
        assert post(address, BODY).status_code == 200
        for connection in silent:
            connection.close()
        wait_until(lambda: not served.engine.counts.running and not served.engine.counts.waiting)


def tasks():
    return sum(type(one) is asyncio.Task and not one.done() for one in gc.get_objects())


def rows():
    return sum(type(one) is _Row for one in gc.get_objects())


@pytest.mark.slow
def test_a_thousand_streams_broken_off_leave_nothing_behind(tiny_tokenizer):
    """No engine row, task, thread or file descriptor stays, and memory does not grow."""
    served = tiny_served(tiny_tokenizer, waiting=1000)
    counts, process = served.engine.counts, psutil.Process()
    data = request({**BODY, "stream": True, "max_tokens": 200})

    def break_off(number):
        for _ in range(number // 50):
            open_ones = [raw(address, data) for _ in range(50)]
            for connection in open_ones[:30]:  # the others may leave before they are read
                said = b""
                while b"data:" not in said:
                    piece = connection.recv(4096)
                    assert piece
                    said += piece
            for connection in open_ones:
                connection.close()
        wait_until(lambda: not counts.running and not counts.waiting)
        wait_until(lambda: sum(counts.finished.values()) == counts.requests)
        gc.collect()

    with serving(served, concurrency=2000) as address:
        break_off(100)
        wait_until(lambda: tasks() <= 4)
        before = (process.num_fds(), threading.active_count(), process.memory_info().rss)
        tasks_before, requests = tasks(), counts.requests
        break_off(1000)
        wait_until(lambda: process.num_fds() <= before[0] and tasks() <= tasks_before)
        gc.collect()
        assert counts.requests - requests >= 600
        assert counts.finished["cancelled"] > 500
        assert threading.active_count() <= before[1]
        assert rows() == 0
        assert process.memory_info().rss - before[2] < 60 * 2**20
        assert post(address, BODY).status_code == 200


def test_memory_that_does_not_suffice_for_one_fails_that_one(tiny_tokenizer, monkeypatch):
    served = tiny_served(tiny_tokenizer, prompt_tokens=1000)
    backend = served.engine._backend

    def small(parts):
        if max(len(part.token_ids) for part in parts) > 100:
            raise torch.OutOfMemoryError("no room for so many keys")
        return SideBySide.logits(backend, parts)

    expected = {}
    with serving(served) as address:
        expected = post(address, BODY).json()["choices"][0]["message"]
        monkeypatch.setattr(backend, "logits", small)
        huge = {**BODY, "messages": [{"role": "user", "content": "炉" * 120}]}
        found: dict[str, httpx2.Response] = {}
        threads = [
            threading.Thread(target=lambda k=k, b=b: found.update({k: post(address, b)}))
            for k, b in {"huge": huge, "one": BODY, "two": BODY}.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    error = found["huge"].json()["error"]
    assert (found["huge"].status_code, error["code"]) == (500, "computation_failed")
    assert "OutOfMemoryError" in error["message"]
    for name in ("one", "two"):
        assert found[name].json()["choices"][0]["message"] == expected


OPENED: list[str] = []
MARK = "nobody-opens-this"


def _hear(event, arguments):
    if event in ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename"):
        OPENED.extend(str(one) for one in arguments if MARK in str(one))


def test_paths_in_requests_never_reach_the_disk(address, tmp_path):
    """Of every field that could be taken for a place, none is opened, listed or made."""
    sys.addaudithook(_hear)
    file = tmp_path / MARK
    with pytest.raises(FileNotFoundError):
        file.read_text()  # the hook hears
    assert len(OPENED) == 1
    OPENED.clear()
    for path in (str(file), f"../../{MARK}", f"file://{file}", f"~/{MARK}", f"builtin:{MARK}"):
        assert post(address, {**BODY, "model": path}).status_code == 404
        said = {**BODY, "messages": [{"role": "user", "content": path}], "user": path}
        assert post(address, said, headers={"x-session-id": path}).status_code == 200
        assert httpx2.get(f"{address}/v1/models/{path}").status_code in (404, 307)
        vote = {"id": path, "up": True, "voter": path, "text": path}
        assert post(address, vote, "/v1/feedback").status_code == 200
        assert (
            post(address, {"model": "tiny", "prompt": path}, "/v1/completions").status_code == 200
        )
    assert OPENED == []


def test_adapters_with_pickled_weights_are_refused(tmp_path, tiny_tokenizer):
    from danlu.models.load import load_model
    from danlu.serving.server.origin import Wanted
    from danlu.serving.server.served import load_served
    from tests.serving.test_export import run_of

    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        for file in (run / "adapter").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"pickles \(adapter_model.bin\)"):
        load_model(tmp_path / "one")
    wanted = [Wanted(name, str(tmp_path / name)) for name in ("one", "two")]
    with pytest.raises(ModelError, match=r"pickles \(adapter_model.bin\)"):
        load_served(wanted)
