"""The gateway: what goes on as it came, what is changed, and every way an upstream can fail."""

import asyncio
import json
import time
from pathlib import Path

import httpx2
import openai
import pytest

from danlu.errors import DanluError, TemplateError
from danlu.records.capture import read_capture
from danlu.sequences.golden import GOLDEN_FILE, write_golden
from danlu.sequences.template import ChatTemplate
from danlu.serving.engines.start import behind
from danlu.serving.gateway.routed import Routed, Upstream, routed_models
from danlu.serving.server.keys import Keys
from danlu.serving.server.origin import Origin, Wanted
from tests.serving.server import scripted_served, serving, serving_to_close, tiny_served
from tests.serving.upstreams import STREAM, chunk, response, upstream
from tests.tiny_models import tiny_llama

ASK = [{"role": "user", "content": "丹炉？"}]
CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": ASK}
ANSWER = {
    "id": "chatcmpl-7",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "我叫丹炉。"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3},
}


def post(address: str, body: object, path: str = CHAT, **headers: str) -> httpx2.Response:
    return httpx2.post(f"{address}{path}", json=body, timeout=30, headers=headers)


def routed(address: str, **changes: object) -> Routed:
    return Routed("m", "m", Upstream(address), **changes)


def wait_until(true, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def always(data: bytes):
    async def answer(_, writer):
        writer.write(data)
        await writer.drain()

    return answer


@pytest.fixture(scope="module")
def behind_danlu(tiny_tokenizer):
    """A gateway to Danlu's own server, with both addresses."""
    with (
        serving(tiny_served(tiny_tokenizer), scripted_served(tiny_tokenizer, "丹。")) as there,
        serving(routed=routed_models([Upstream(f"{there}/v1")])) as here,
    ):
        yield here, there


def test_openais_client_sees_the_same_through_the_gateway(behind_danlu):
    here, there = behind_danlu
    said = []
    for address in (here, there):
        with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            asked = {"model": "tiny", "messages": ASK, "max_tokens": 9, "temperature": 0}
            whole = client.chat.completions.create(**asked, logprobs=True)
            chunks = list(client.chat.completions.create(**asked, stream=True))
            text = "".join(c.choices[0].delta.content or "" for c in chunks)
            old = client.completions.create(model="tiny", prompt="one", temperature=0)
            models = [model.id for model in client.models.list()]
            limit = client.models.retrieve("tiny").max_model_len
            said.append((whole.choices, whole.usage, text, old.choices[0].text, models, limit))
    assert said[0] == said[1]
    assert said[0][2] == said[0][0][0].message.content


def test_a_request_and_its_answer_go_on_byte_for_byte():
    """Spaces, order, unknown fields, numbers as they were written."""
    asked = b'{"model": "m",  "top_k":1e1, "messages":[{"role":"user","content":"\\u4e39"}]}'
    told = b'{"id":"1","choices":[], "timings": {"x": 1.50}}'
    with upstream(always(response(told))) as there, serving(routed=[routed(there.address)]) as here:
        found = httpx2.post(
            f"{here}{CHAT}", content=asked, headers={"content-type": "application/json"}
        )
    assert there.asked[0].body == asked
    assert found.content == told


def test_another_name_and_a_longest_answer_change_the_request_and_nothing_else():
    with upstream(always(response(ANSWER))) as there:
        model = Routed("ours", "theirs", Upstream(there.address), longest=50)
        with serving(routed=[model]) as here:
            body = {"model": "ours", "messages": ASK, "seed": 3}
            for limits in ({}, {"max_tokens": 9}, {"max_completion_tokens": 99}):
                assert post(here, {**body, **limits}).status_code == 200
            post(here, {"model": "ours", "input": "x"}, "/v1/embeddings")
    plain = {**body, "model": "theirs"}
    assert [one.json for one in there.asked] == [
        {**plain, "max_tokens": 50},
        {**plain, "max_tokens": 9},
        {**plain, "max_completion_tokens": 50},
        {"model": "theirs", "input": "x"},
    ]


def test_keys_are_each_servers_own(tmp_path: Path):
    """The client's key opens the gateway only; the upstream is shown the gateway's."""
    key = Keys(tmp_path / "keys.json").add("office")
    with upstream(always(response(ANSWER))) as there:
        model = Routed("m", "m", Upstream(there.address, "sk-upstream"))
        with serving(routed=[model], keys=tmp_path / "keys.json") as here:
            assert post(here, BODY).status_code == 401
            assert there.asked == []
            assert post(here, BODY, authorization=f"Bearer {key}").status_code == 200
    assert there.asked[0].headers["authorization"] == "Bearer sk-upstream"
    assert key not in str(there.asked[0].headers)


def test_connections_are_kept_and_a_closed_one_is_replaced():
    closing = False

    async def answer(_, writer):
        writer.write(response(ANSWER))
        await writer.drain()
        if closing:
            writer.close()

    with upstream(answer) as there, serving(routed=[routed(there.address)]) as here:
        for _ in range(5):
            assert post(here, BODY).status_code == 200
        assert there.connections == 1
        closing = True
        for _ in range(3):
            assert post(here, BODY).status_code == 200
            time.sleep(0.02)  # the closing arrives
        assert there.connections == 3


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (response({"error": {"message": "too long", "code": "c"}}, 400), 400, "too long"),
        (response({"object": "error", "message": "vLLM's old way"}, 422), 422, "vLLM's old way"),
        (response({"detail": "Not Found"}, 404), 404, "Not Found"),
        (response(b"<h1>Bad Gateway</h1>", 502, "text/html"), 502, "Bad Gateway"),
        (response(b"", 503), 503, "answered 503 and nothing else"),
        (response({"error": "wrong key"}, 401), 502, "refuses this server's own key: wrong key"),
        (response(b"", 302), 502, "answered with status 302"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", 502, "broke off"),
        (b"not HTTP at all\r\n\r\n", 502, "broke off"),
    ],
)
def test_what_the_upstream_refuses_is_told_in_openais_shape(data, status, text):
    async def answer(_, writer):
        writer.write(data)
        await writer.drain()
        writer.close()

    with upstream(answer) as there, serving(routed=[routed(there.address)]) as here:
        found = post(here, BODY)
        assert post(here, BODY).status_code == status  # the next one is answered too
    assert found.status_code == status
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert text in error["message"]


def test_an_upstream_that_is_gone_or_says_nothing():
    with upstream(always(response(ANSWER))) as there:
        address = there.address
    with serving(routed=[routed(address)]) as here:
        found = post(here, BODY)
        assert (found.status_code, found.json()["error"]["code"]) == (502, "upstream_failed")
        assert httpx2.get(f"{here}/healthz").status_code == 200

    async def never(*_):
        await asyncio.sleep(60)

    with upstream(never) as there, serving(routed=[routed(there.address)], seconds=0.1) as here:
        found = post(here, BODY)
        assert (found.status_code, found.json()["error"]["code"]) == (504, "timeout")
        wait_until(lambda: there.left == 1)


def test_a_stream_that_breaks_off_ends_with_an_error(tmp_path: Path):
    """The status is long sent, so the error is an event; nothing is captured of half an answer."""
    event = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'

    async def answer(_, writer):
        writer.write(STREAM + chunk(event))
        await writer.drain()
        writer.close()

    with (
        upstream(answer) as there,
        serving(routed=[routed(there.address)], capture=tmp_path) as here,
    ):
        text = post(here, {**BODY, "stream": True}).text
    assert text.startswith(event.decode())
    assert '"code": "upstream_failed"' in text
    assert "[DONE]" not in text
    assert list(tmp_path.iterdir()) == []


def test_pieces_go_on_as_they_come():
    """The first piece is there while the upstream still holds the second."""
    more, loops = asyncio.Event(), []

    async def answer(_, writer):
        loops.append(asyncio.get_running_loop())
        writer.write(STREAM + chunk(b"data: 1\n\n"))
        await more.wait()
        writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()

    with upstream(answer) as there, serving(routed=[routed(there.address)]) as here:
        asked = httpx2.stream("POST", f"{here}{CHAT}", json={**BODY, "stream": True}, timeout=30)
        with asked as found:
            parts = found.iter_bytes()
            assert next(parts) == b"data: 1\n\n"
            loops[0].call_soon_threadsafe(more.set)
            assert b"".join(parts) == b"data: [DONE]\n\n"


def test_a_stream_that_outlasts_the_time_to_close_is_told_so():
    async def answer(_, writer):
        writer.write(STREAM + chunk(b"data: 1\n\n"))
        await asyncio.sleep(60)

    with upstream(answer) as there:
        model = routed(there.address)
        with (
            serving_to_close(routed=[model], drain_s=0.05) as (here, close),
            httpx2.stream(
                "POST", f"{here}{CHAT}", json={**BODY, "stream": True}, timeout=30
            ) as found,
        ):
            parts = found.iter_bytes()
            assert next(parts) == b"data: 1\n\n"
            close()
            error = json.loads(b"".join(parts).removeprefix(b"data: "))["error"]
        assert error["code"] == "closing"
        assert model.counts.finished == {"cancelled": 1}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_request_upstream(stream):
    async def answer(asked, writer):
        if asked.json.get("stream"):
            writer.write(STREAM + chunk(b"data: 1\n\n"))
        await asyncio.sleep(60)

    model = None
    with upstream(answer) as there:
        model = routed(there.address)
        with serving(routed=[model]) as here:
            while len(there.asked) < 10:
                with pytest.raises(httpx2.TimeoutException):
                    httpx2.post(f"{here}{CHAT}", json={**BODY, "stream": stream}, timeout=0.05)
            wait_until(lambda: there.left == len(there.asked) and not model.counts.running)
    assert there.left == len(there.asked) >= 10
    assert model.counts.finished == {"cancelled": len(there.asked)}


def test_conversations_are_captured_and_counted(tmp_path: Path):
    """Whole and streamed, text and tool calls; masked; feedback by the upstream's own id."""
    events = [
        {"id": "c-2", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"id": "c-2", "choices": [{"index": 0, "delta": {"content": "我叫"}}]},
        {"id": "c-2", "choices": [{"index": 1, "delta": {"content": "x"}}]},
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {
                        "tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{"}}]
                    },
                }
            ]
        },
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
                }
            ]
        },
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 4}},
    ]
    lines = b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in events)
    data = lines + b"data: [DONE]\n\n"

    async def answer(asked, writer):
        if not asked.json.get("stream"):
            writer.write(response(ANSWER))
            return
        writer.write(STREAM)
        for begin in range(0, len(data), 50):  # pieces know nothing of events
            writer.write(chunk(data[begin : begin + 50]))
        writer.write(b"0\r\n\r\n")

    origin = Origin("runs/a", "v1")
    asked = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "我的电话是13987650912。"}]},
        ],
        "user": "li",
    }
    with upstream(answer) as there:
        model = routed(there.address, origin=origin)
        with serving(routed=[model], capture=tmp_path) as here:
            post(here, asked)
            post(here, {**asked, "stream": True, "tools": [{"type": "function", "x": 1}]})
            said = httpx2.post(f"{here}/v1/feedback", json={"id": "chatcmpl-7", "up": True})
            assert said.json()["kept"]
            numbers = httpx2.get(f"{here}/metrics").text
    assert 'danlu_prompt_tokens_total{model="m"} 12.0' in numbers
    assert 'danlu_answer_tokens_total{model="m"} 7.0' in numbers
    [file] = tmp_path.iterdir()
    whole, streamed, feedback = (
        read_capture(json.loads(line)) for line in file.read_text().splitlines()
    )
    assert [(m.role, m.content) for m in whole.messages] == [
        ("system", "Be short."),
        ("user", "我的电话是[电话号码]。"),
        ("assistant", "我叫丹炉。"),
    ]
    assert (whole.id, whole.model, whole.adapter, whole.data_version) == (
        "chatcmpl-7",
        "m",
        "runs/a",
        "v1",
    )
    assert whole.session == streamed.session != ""
    assert (streamed.id, streamed.messages[-1].content) == ("c-2", "我叫")
    [call] = streamed.messages[-1].extra["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": "{}"}
    assert feedback.turn == "chatcmpl-7"


def test_a_client_that_leaves_at_the_end_has_been_answered(tmp_path: Path):
    """OpenAI's client closes the connection at [DONE], which may be before the stream's end."""

    async def answer(_, writer):
        event = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
        writer.write(STREAM + chunk(b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(event).encode()))
        await asyncio.sleep(0.2)
        writer.write(b"0\r\n\r\n")

    with upstream(answer) as there:
        model = routed(there.address)
        with serving(routed=[model], capture=tmp_path) as here:
            asked = {**BODY, "stream": True}
            with httpx2.stream("POST", f"{here}{CHAT}", json=asked, timeout=30) as found:
                next(found.iter_bytes())
            wait_until(lambda: list(tmp_path.iterdir()))
            wait_until(lambda: not model.counts.running)
    assert model.counts.finished == {"stop": 1}
    [file] = tmp_path.iterdir()
    assert json.loads(file.read_text())["messages"][-1]["content"] == "Hi"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"prompt": "\\ud800"}', "half of a character"),
    ],
)
def test_bodies_that_are_no_requests(behind_danlu, body, text):
    found = httpx2.post(
        f"{behind_danlu[0]}{CHAT}", content=body, headers={"content-type": "application/json"}
    )
    assert found.status_code == 400
    assert text in found.json()["error"]["message"]


def test_models_that_are_not_there_and_routes_that_are_not_passed_on(behind_danlu):
    here, _ = behind_danlu
    assert "Did you mean 'tiny'" in post(here, {**BODY, "model": "tinny"}).text
    assert post(here, {**BODY, "model": 7}).status_code == 400
    assert httpx2.post(f"{here}/tokenize", json={}).status_code == 404


@pytest.fixture
def run_folder(tmp_path, tiny_tokenizer):
    """A model as Danlu saves it."""
    made = tmp_path / "tiny"
    tiny_llama().save_pretrained(made)
    tiny_tokenizer.save_pretrained(made)
    write_golden(made, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    return made


def test_golden_prompts_are_replayed_through_the_upstream(
    behind_danlu, run_folder, tokenizer_maker
):
    notes: list[str] = []
    there = Upstream(behind_danlu[1])
    [model] = behind([there], [Wanted("tiny", str(run_folder))], None, notes.append)
    assert (model.name, notes) == ("tiny", [])
    other = tokenizer_maker(
        "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}A:{% endif %}"
    )
    with (
        serving(tiny_served(other)) as address,
        pytest.raises(TemplateError, match="would not ask it as it was trained: the prompt for"),
    ):
        behind([Upstream(address)], [Wanted("tiny", str(run_folder))], None, notes.append)
    (run_folder / GOLDEN_FILE).unlink()
    behind([there], [Wanted("tiny", str(run_folder))], None, notes.append)
    assert "no golden prompts" in notes[0]


def test_tools_that_are_shown_otherwise_are_refused_and_all_else_is_answered(
    run_folder, tiny_tokenizer
):
    golden = json.loads((run_folder / GOLDEN_FILE).read_text())
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    golden["prompts"].append({**golden["prompts"][0], "tools": tools, "token_ids": [1, 2]})
    (run_folder / GOLDEN_FILE).write_text(json.dumps(golden))
    ids = {tuple(map(str, one["messages"])): one["token_ids"] for one in golden["prompts"][:-1]}

    async def answer(asked, writer):
        if asked.path == "/v1/models":
            writer.write(response({"data": [{"id": "m", "max_model_len": 9}]}))
        elif asked.path == "/tokenize":
            found = ids[tuple(map(str, asked.json["messages"]))]
            writer.write(response({"tokens": found, "max_model_len": 9}))
        else:
            writer.write(response(ANSWER))

    notes: list[str] = []
    with upstream(answer) as there:
        models = behind(
            [Upstream(there.address)], [Wanted("m", str(run_folder))], None, notes.append
        )
        with serving(routed=models) as here:
            assert post(here, BODY).status_code == 200
            refused = post(here, {**BODY, "tools": tools})
            assert post(here, {**BODY, "tools": tools, "tool_choice": "none"}).status_code == 200
    assert refused.status_code == 400
    assert "differs from token" in refused.json()["error"]["message"]
    assert "Requests with tools are refused" in notes[0]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("http://127.0.0.1:1", "cannot be asked"),
        ("ftp://x", "cannot be asked|no address"),
        ("localhost:8000", "cannot be asked|no address"),
    ],
)
def test_upstreams_that_are_none(address, text):
    with pytest.raises(DanluError, match=text):
        routed_models([Upstream(address)])


def test_models_of_several_upstreams(behind_danlu):
    there = Upstream(behind_danlu[1])
    with pytest.raises(DanluError, match=r"both .* have a model of this name"):
        routed_models([there, there])
    with pytest.raises(DanluError, match=r"there are tiny, scripted.*Did you mean 'tiny'"):
        routed_models([there], [("tin", Origin())])
    with (
        upstream(always(response({"data": []}))) as none,
        pytest.raises(DanluError, match="has no models"),
    ):
        routed_models([Upstream(none.address)])
    with (
        upstream(always(response({}, 401))) as shut,
        pytest.raises(DanluError, match="is the API key right"),
    ):
        routed_models([Upstream(shut.address)])
