"""A foreign engine held to the golden prompts: Danlu's own server plays it, and a scripted one."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from danlu.errors import DanluError
from danlu.sequences.golden import write_golden
from danlu.sequences.template import ChatTemplate
from danlu.serving.verify import verify_served
from tests.serving.server import serving, tiny_served


@pytest.fixture
def folder(tmp_path, tiny_tokenizer):
    write_golden(tmp_path, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    return tmp_path


def test_our_own_server_asks_as_it_was_trained(folder, tiny_tokenizer):
    with serving(tiny_served(tiny_tokenizer)) as address:
        found = verify_served(f"{address}/v1", folder, tiny_tokenizer)
    assert len(found) == 4
    assert {(one.how, one.difference) for one in found} == {("count", "")}


def test_another_template_shows_in_the_number_of_tokens(folder, tokenizer_maker):
    other = tokenizer_maker(
        "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}A:{% endif %}"
    )
    with serving(tiny_served(other)) as address:
        found = verify_served(address, folder, other)
    assert "tokens there, and" in found[0].difference


def answering(tokens):
    """A server that shows tokens as vLLM does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send({"data": [{"id": "m"}]})

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send({"tokens": tokens, "count": len(tokens), "max_model_len": 100})

        def log_message(self, *_):
            pass

        def send(self, body):
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def test_the_token_that_differs_is_named(folder, tiny_tokenizer):
    right = ChatTemplate.load(tiny_tokenizer).render(
        [{"role": "user", "content": "Who are you?"}], None, add_generation_prompt=True
    )
    ids = tiny_tokenizer(right, add_special_tokens=False).input_ids
    with answering([0, *ids]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        first = verify_served(address, folder, tiny_tokenizer)[0]
        server.shutdown()
        thread.join()
    assert first.how == "tokens"
    assert "differs from token 0 on: it was 1 ('<|im_start|>'), and is now 0" in first.difference


def test_what_cannot_be_compared_is_told(folder, tmp_path, tiny_tokenizer):
    with pytest.raises(DanluError, match="cannot be asked"):
        verify_served("http://127.0.0.1:1", folder, tiny_tokenizer, model="m")
    (tmp_path / "none").mkdir()
    with pytest.raises(DanluError, match="no golden prompts"):
        verify_served("http://127.0.0.1:1", tmp_path / "none", tiny_tokenizer)
