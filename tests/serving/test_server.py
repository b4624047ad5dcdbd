"""The server as clients see it: OpenAI's own client, plain HTTP, wrong and broken requests."""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import openai
import pytest

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.generation.local import TransformersGenerator
from danlu.serving.server.calls import call_form
from danlu.serving.server.keys import Keys
from danlu.serving.server.run import listen
from danlu.serving.server.settings import ServerSettings
from tests.serving.server import scripted_served, serving, serving_to_close, tiny_served
from tests.tiny_models import tiny_llama

HERMES = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n"
    '{"name": {{ call.function.name | tojson }}, "arguments": '
    "{{ call.function.arguments if call.function.arguments is string "
    "else call.function.arguments | tojson }}}\n</tool_call>\n{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASK = [{"role": "user", "content": "丹炉？"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def tiny(tiny_tokenizer):
    return tiny_served(tiny_tokenizer)


@pytest.fixture(scope="module")
def address(tiny, tokenizer_maker):
    tools = scripted_served(
        tokenizer_maker(HERMES),
        'Let me see.\n<tool_call>\n{"name": "weather", "arguments": {"city":  "北京"}}\n'
        "</tool_call>\n",
        "tools",
    )
    with serving(tiny, tools, scripted_served(tiny.generator.tokenizer, "我叫丹炉。<b>")) as at:
        yield at


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made:
        yield made


def post(address: str, path: str, body: object) -> httpx2.Response:
    return httpx2.post(f"{address}{path}", json=body, timeout=30)


def test_answers_are_sent_at_once():
    """asyncio sets TCP_NODELAY where the protocol is named; else answers wait 40 ms."""
    with listen(ServerSettings(port=0)) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            assert accepted.proto == socket.IPPROTO_TCP
            accepted.close()


def test_the_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["tiny", "tools", "scripted"]
    assert client.models.retrieve("tiny").owned_by == "danlu"
    with pytest.raises(openai.NotFoundError, match="Did you mean 'tiny'"):
        client.models.retrieve("tinny")


def test_an_answer_is_the_one_that_chat_gives(client, tiny):
    """The same prompt, the same sampling, the same seed: the same tokens."""
    sampling = Sampling(max_new_tokens=12, temperature=0.9, top_p=0.8, seed=5)
    own = tiny.generator
    alone = TransformersGenerator(tiny_llama(len(own.tokenizer)), own.tokenizer, own.template)
    expected = "".join(alone.stream("丹炉？", sampling))
    found = client.chat.completions.create(
        model="tiny", messages=ASK, max_tokens=12, temperature=0.9, top_p=0.8, seed=5
    )
    assert found.choices[0].message.content == expected
    assert found.usage.prompt_tokens == len(tiny.generator.encode("丹炉？"))
    assert found.usage.completion_tokens == 12
    assert found.choices[0].finish_reason == "length"


def test_a_streamed_answer_joins_to_the_whole_one(client):
    asked = {"model": "tiny", "messages": ASK, "max_tokens": 9, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_an_answer_that_stops_itself_says_so(client):
    found = client.chat.completions.create(model="scripted", messages=ASK)
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == (
        "我叫丹炉。<b>",
        "stop",
    )
    cut = client.chat.completions.create(model="scripted", messages=ASK, stop=["丹", "。"])
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("我叫", "stop")


def test_several_answers_differ_by_their_seeds(client):
    found = client.chat.completions.create(
        model="tiny", messages=ASK, n=3, seed=4, max_tokens=6, temperature=1
    )
    again = [
        client.chat.completions.create(
            model="tiny", messages=ASK, seed=4 + k, max_tokens=6, temperature=1
        )
        for k in range(3)
    ]
    texts = [choice.message.content for choice in found.choices]
    assert texts == [one.choices[0].message.content for one in again]
    assert len(set(texts)) == 3
    assert found.usage.completion_tokens == 18


def test_log_probabilities(client):
    found = client.chat.completions.create(
        model="tiny", messages=ASK, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2
    )
    content = found.choices[0].logprobs.content
    assert len(content) == 3
    for token in content:
        assert token.top_logprobs[0].logprob == token.logprob  # greedy takes the likeliest
        assert token.top_logprobs[1].logprob <= token.logprob
        assert bytes(token.bytes).decode() == token.token


def test_completions_go_on_with_a_text_as_it_stands(client, tiny):
    tokenizer = tiny.generator.tokenizer
    ids = tokenizer("one two", add_special_tokens=False).input_ids
    by_text = client.completions.create(model="tiny", prompt="one two", temperature=0)
    by_ids = client.completions.create(model="tiny", prompt=ids, temperature=0, logprobs=1)
    both = client.completions.create(model="tiny", prompt=["one two", "red"], temperature=0)
    assert by_text.choices[0].text == by_ids.choices[0].text == both.choices[0].text
    assert by_text.usage.completion_tokens == 16
    assert len(by_ids.choices[0].logprobs.token_logprobs) == 16
    streamed = client.completions.create(model="tiny", prompt="one two", temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in streamed) == by_text.choices[0].text


def test_tool_calls_are_read_by_the_templates_own_form(client):
    found = client.chat.completions.create(model="tools", messages=ASK, tools=[WEATHER])
    choice = found.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    [call] = choice.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city":  "北京"}')
    chunks = list(
        client.chat.completions.create(model="tools", messages=ASK, tools=[WEATHER], stream=True)
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    [listed] = [c.choices[0].delta.tool_calls for c in chunks if c.choices[0].delta.tool_calls]
    assert text == "Let me see."
    assert listed[0].function.arguments == '{"city":  "北京"}'
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    followed = [
        *ASK,
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "18 度"},
    ]
    client.chat.completions.create(model="tools", messages=followed, tools=[WEATHER])
    plain = client.chat.completions.create(
        model="tools", messages=ASK, tools=[WEATHER], tool_choice="none"
    )
    assert plain.choices[0].message.tool_calls is None
    assert "<tool_call>" in plain.choices[0].message.content


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "hot": {"type": "boolean"},
        "size": {"enum": [1, 2]},
    },
    "required": ["name", "hot", "size"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_held_to_a_schema(client, stream):
    """A random model writes what the schema allows, and stops; each of several answers does."""
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    options = {"model": "tiny", "messages": ASK, "seed": 3, "temperature": 1.0, "max_tokens": 100}
    found = client.chat.completions.create(
        **options, response_format=asked, n=3, stream=stream, logit_bias={"5": -1}
    )
    texts = ["", "", ""]
    for part in found if stream else [found]:
        for choice in part.choices:
            said = choice.delta if stream else choice.message
            texts[choice.index] += said.content or ""
            assert choice.finish_reason in (None, "stop")
    for text in texts:
        answer = json.loads(text)
        assert list(answer) == ["name", "hot", "size"]
        assert len(answer["name"]) <= 6
        assert answer["hot"] in (True, False)
        assert answer["size"] in (1, 2)
    assert len(set(texts)) > 1


def test_any_json_object(client):
    found = client.chat.completions.create(
        model="tiny",
        messages=ASK,
        temperature=0,
        max_tokens=30,
        response_format={"type": "json_object"},
    )
    assert found.choices[0].message.content.startswith("{")


def test_a_call_can_be_forced(tokenizer_maker):
    """A random model whose template has tools calls what it has to, and nothing else."""
    city = {"type": "object", "properties": {"city": {"enum": ["北京", "巴黎"]}}}
    city |= {"required": ["city"], "additionalProperties": False}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": city}} for name in ("a", "b")
    ]
    served = tiny_served(tokenizer_maker(HERMES), context=1024)
    served = replace(served, calls=call_form(served.generator.template))
    with (
        serving(served) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        asked = {"model": "tiny", "messages": ASK, "tools": tools, "max_tokens": 150}
        for choice, names in (
            ("required", {"a", "b"}),
            ({"type": "function", "function": {"name": "b"}}, {"b"}),
        ):
            found = client.chat.completions.create(**asked, tool_choice=choice, temperature=0)
            assert found.choices[0].finish_reason == "tool_calls"
            [call] = found.choices[0].message.tool_calls
            assert call.function.name in names
            assert json.loads(call.function.arguments)["city"] in ("北京", "巴黎")
        other = {"type": "function", "function": {"name": "c"}}
        with pytest.raises(openai.BadRequestError, match="name a function that is in tools"):
            client.chat.completions.create(**asked, tool_choice=other)


def test_without_the_package_a_form_is_refused(address, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    body = {"model": "tiny", "messages": ASK, "response_format": {"type": "json_object"}}
    found = post(address, "/v1/chat/completions", body)
    assert found.status_code == 400
    assert "without the package llguidance" in found.json()["error"]["message"]


def test_tools_that_the_template_does_not_show_are_refused(client):
    with pytest.raises(openai.BadRequestError, match="shows no tool declarations"):
        client.chat.completions.create(model="tiny", messages=ASK, tools=[WEATHER])


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"model": "huge"}, 404, "there is no model 'huge'"),
        ({"messages": []}, 400, "messages: List should have at least 1 item"),
        ({"messages": [{"content": "x"}]}, 400, "messages.0.role: Field required"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": "warm"}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"n": 0}, 400, "n: "),
        ({"n": 10_000}, 400, "n: "),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"response_format": {"type": "xml"}}, 400, "json_object and json_schema are"),
        ({"response_format": {"type": "json_schema"}}, 400, "give the schema as"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
            400,
            "cannot be held to this schema",
        ),
        ({"response_format": {"type": "json_object"}, "ignore_eos": True}, 400, "ignore_eos"),
        ({"tool_choice": "required"}, 400, "name a function that is in tools"),
        ({"top_logprobs": 3}, 400, "needs logprobs"),
        ({"logit_bias": {"100000": 1}}, 400, "does not exist"),
        ({"stop": ["x"] * 100}, 400, "stop"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            400,
            "messages.0.content",
        ),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, 400, "context ends at"),
    ],
)
def test_wrong_requests_are_told_in_openais_shape(address, change, status, text):
    body = {"model": "tiny", "messages": ASK, "max_tokens": 2, **change}
    found = post(address, "/v1/chat/completions", body)
    assert found.status_code == status
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert text in error["message"]


def test_what_is_no_json_or_nowhere_is_told(address):
    place = f"{address}/v1/chat/completions"
    as_json = {"Content-Type": "application/json"}
    broken = httpx2.post(place, content=b'{"model": "ti', headers=as_json, timeout=30)
    assert broken.status_code == 400
    assert "not JSON" in broken.json()["error"]["message"]
    form = httpx2.post(place, content=b'{"model": "tiny"}', timeout=30)
    assert form.status_code == 415
    assert "Content-Type: application/json" in form.json()["error"]["message"]
    assert httpx2.get(f"{address}/v1/nothing").json()["error"]["message"].endswith("is at /v1.")
    assert httpx2.get(f"{address}/v1/chat/completions").status_code == 405
    assert httpx2.get(f"{address}/v1/models/..%2f..%2fetc%2fpasswd").status_code == 404


def test_health_and_metrics(address, client):
    client.chat.completions.create(model="tiny", messages=ASK, max_tokens=2)
    health = httpx2.get(f"{address}/healthz").json()
    assert health == {"status": "ok", "models": ["tiny", "tools", "scripted"]}
    text = httpx2.get(f"{address}/metrics").text
    assert 'danlu_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert 'danlu_answer_tokens_total{model="tiny"}' in text
    assert 'danlu_running{model="tiny"} 0.0' in text


def wait_until(true: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def send(address: str, body: dict[str, object]) -> socket.socket:
    """Send a request over a bare connection, to be broken off."""
    place = urlsplit(address)
    connection = socket.create_connection((place.hostname, place.port))
    data = json.dumps(body).encode()
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
    )
    return connection


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_leave_cost_nothing_more(tiny_tokenizer, stream):
    """Many connections broken off: no answer goes on, and others are answered."""
    served = tiny_served(tiny_tokenizer)
    counts = served.engine.counts
    long = {"model": "tiny", "messages": ASK, "max_tokens": 200, "stream": stream, "n": 4}
    with serving(served) as address:
        before = threading.active_count()
        for _ in range(10):
            connections = [send(address, long) for _ in range(5)]
            wait_until(lambda: counts.running)
            for connection in connections:
                connection.close()
        calm = 0
        while calm < 10:  # a request that was sent may still be on its way
            time.sleep(0.03)
            calm = calm + 1 if sum(counts.finished.values()) == counts.requests else 0
        found = post(address, "/v1/chat/completions", {**long, "stream": False, "n": 1})
        assert found.status_code == 200
        assert sum(counts.finished.values()) == counts.requests
        assert counts.finished["cancelled"] >= 40
        assert threading.active_count() <= before + 2


def test_too_large_too_many_and_too_slow(tiny_tokenizer):
    served = tiny_served(tiny_tokenizer)
    body = {"model": "tiny", "messages": ASK, "max_tokens": 4}
    with serving(served, body_bytes=2000, seconds=0.001) as address:
        large = {**body, "messages": [{"role": "user", "content": "x" * 3000}]}
        assert post(address, "/v1/chat/completions", large).status_code == 413
        slow = post(address, "/v1/chat/completions", {**body, "max_tokens": 200})
        assert slow.status_code == 504
        assert "longer than 0.001 s" in slow.json()["error"]["message"]
        streamed = post(address, "/v1/chat/completions", {**body, "stream": True})
        assert "longer than 0.001 s" in streamed.text

        def chunks():  # no length is said beforehand
            yield b'{"model": "tiny", "messages": [{"role": "user", "content": "'
            for _ in range(40):
                yield b"x" * 100
            yield b'"}]}'

        place, as_json = f"{address}/v1/chat/completions", {"Content-Type": "application/json"}
        unsaid = httpx2.post(place, content=chunks(), headers=as_json, timeout=30)
        assert unsaid.status_code == 413


def test_more_requests_than_may_wait_are_told_to_come_again(tiny_tokenizer):
    served = tiny_served(tiny_tokenizer, rows=1, waiting=1)
    body = {"model": "tiny", "messages": ASK, "max_tokens": 4, "n": 8}
    with serving(served) as address:
        found = post(address, "/v1/chat/completions", body)
        assert found.status_code == 429
        assert found.headers["retry-after"] == "1"
        assert found.json()["error"]["type"] == "rate_limit_error"
        wait_until(lambda: not served.engine.counts.running and not served.engine.counts.waiting)
        assert post(address, "/v1/chat/completions", {**body, "n": 1}).status_code == 200


def test_keys_open_and_stop_opening(tiny_tokenizer, tmp_path: Path):
    keys = Keys(tmp_path / "keys.json")
    key = keys.add("office")
    assert key not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    with pytest.raises(DanluError, match="already"):
        keys.add("office")
    with serving(tiny_served(tiny_tokenizer), keys=tmp_path / "keys.json") as address:
        with openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["tiny"]
        for header in ({}, {"Authorization": f"Bearer {key}x"}, {"Authorization": key}):
            found = httpx2.get(f"{address}/v1/models", headers=header)
            assert found.status_code == 401
            assert found.json()["error"]["type"] == "authentication_error"
        assert httpx2.get(f"{address}/healthz").status_code == 200
        assert httpx2.get(f"{address}/metrics").status_code == 401
        keys.remove("office")
        header = {"Authorization": f"Bearer {key}"}
        assert httpx2.get(f"{address}/v1/models", headers=header).status_code == 401


def test_other_machines_need_keys():
    with pytest.raises(DanluError, match="no API keys are asked for"):
        ServerSettings(host="0.0.0.0")
    assert ServerSettings(host="0.0.0.0", keys=Path("keys.json")).port == 8000


def test_pages_of_other_sites_may_ask_only_where_allowed(tiny_tokenizer):
    origin = {"Origin": "https://example.org"}
    with serving(tiny_served(tiny_tokenizer)) as address:
        found = httpx2.get(f"{address}/v1/models", headers=origin)
        assert "access-control-allow-origin" not in found.headers
    allowed = {"origins": ("https://example.org",)}
    with serving(tiny_served(tiny_tokenizer), **allowed) as address:
        found = httpx2.get(f"{address}/v1/models", headers=origin)
        assert found.headers["access-control-allow-origin"] == "https://example.org"


def test_conversations_and_feedback_are_kept_for_the_flywheel(tiny_tokenizer, tmp_path: Path):
    from danlu.records.capture import read_capture

    served = scripted_served(tiny_tokenizer, "我叫丹炉。")
    old = tmp_path / "2020-01-01.jsonl"
    old.write_text("")
    asked = [{"role": "user", "content": "我的电话是13987650912，你叫什么？"}]
    with serving(served, capture=tmp_path) as address:
        body = {"model": "scripted", "messages": asked, "user": "li@danlu.cn"}
        whole = post(address, "/v1/chat/completions", body).json()
        post(address, "/v1/chat/completions", {**body, "stream": True})
        said = {"id": whole["id"], "up": False, "corrected": "我叫丹炉！", "voter": "li"}
        assert post(address, "/v1/feedback", said).json()["kept"] is True
        assert post(address, "/v1/feedback", {"id": whole["id"]}).status_code == 400
    [file] = tmp_path.glob("*.jsonl")
    assert file != old
    text = file.read_text()
    assert "13987650912" not in text
    assert "li@danlu.cn" not in text
    turn, streamed, feedback = (read_capture(json.loads(line)) for line in text.splitlines())
    assert [message.content for message in turn.messages] == [
        "我的电话是[电话号码]，你叫什么？",
        "我叫丹炉。",
    ]
    assert (turn.id, turn.model) == (whole["id"], "scripted")
    assert streamed.session == turn.session != ""
    assert feedback.turn == turn.id
    assert (feedback.vote.up, feedback.vote.corrected) == (False, "我叫丹炉！")


def test_without_capture_nothing_is_written_and_feedback_is_refused(address):
    found = post(address, "/v1/feedback", {"id": "x", "up": True})
    assert found.status_code == 404
    assert "--capture" in found.json()["error"]["message"]


def test_a_full_disk_ends_no_answer(tiny_tokenizer, tmp_path, monkeypatch, capsys):
    """Answers are given, the loss is counted and said; a vote that is lost is told."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("danlu.serving.server.capture.append_capture", full)
    body = {"model": "tiny", "messages": ASK, "max_tokens": 2}
    with serving(tiny_served(tiny_tokenizer), capture=tmp_path) as address:
        whole = post(address, "/v1/chat/completions", body)
        stream = post(address, "/v1/chat/completions", {**body, "stream": True})
        vote = post(address, "/v1/feedback", {"id": whole.json()["id"], "up": True})
        numbers = httpx2.get(f"{address}/metrics").text
    assert whole.status_code == 200
    assert stream.text.endswith("data: [DONE]\n\n")
    assert vote.status_code == 507
    assert "No space left on device" in vote.json()["error"]["message"]
    assert "danlu_capture_lost_total 2.0" in numbers
    assert capsys.readouterr().err.count("answers are given, but not written down") == 1


def test_answers_that_outlast_the_time_to_close_are_told_so(tiny_tokenizer):
    served = tiny_served(tiny_tokenizer, context=4096)
    body = {"model": "tiny", "messages": ASK, "max_tokens": 4000, "ignore_eos": True}
    lines = []
    with (
        serving_to_close(served, drain_s=0.05, longest=4000) as (address, close),
        httpx2.stream(
            "POST", f"{address}/v1/chat/completions", json={**body, "stream": True}, timeout=60
        ) as response,
    ):
        for line in response.iter_lines():
            if not lines:
                close()
            lines.append(line)
        late = post(address, "/v1/chat/completions", body)
    error = json.loads(lines[-2].removeprefix("data: "))["error"]
    assert (error["code"], error["message"]) == ("closing", "the server is closing.")
    assert late.status_code == 503
