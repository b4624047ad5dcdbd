"""Chatting with a model behind an address: streamed from a real server, faults told in words."""

import http.server
import threading
from contextlib import contextmanager

import pytest

from danlu.errors import DanluError
from danlu.generation import Sampling
from danlu.generation.local import TransformersGenerator
from danlu.sequences.template import ChatTemplate
from danlu.serving.endpoint import endpoint_models, is_address
from danlu.serving.speakers import load_speakers
from danlu.serving.terminal import answers_to
from tests.serving.server import scripted_served, serving, tiny_served
from tests.tiny_models import tiny_llama


@pytest.fixture(scope="module")
def address(tiny_tokenizer):
    served = scripted_served(tiny_tokenizer, "我叫丹炉。", "炉"), tiny_served(tiny_tokenizer)
    with serving(*served) as at:
        yield at


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_a_servers_models_are_found_by_any_form_of_its_address(address, path):
    found = endpoint_models(f"{address}{path}")
    assert [one.model for one in found] == ["炉", "tiny"]
    assert found[0].root == f"{address}/v1"
    for one in found:
        one.close()


def test_answers_stream_as_the_server_gives_them(address, tiny_tokenizer):
    [[named]] = load_speakers([f"炉={address}"])
    assert list(named.generator.stream("你好", Sampling())) != ["我叫丹炉。"]  # in pieces
    assert "".join(named.generator.stream("你好", Sampling())) == "我叫丹炉。"
    named.close()
    sampling = Sampling(max_new_tokens=7, temperature=0.9, seed=3)
    found = answers_to([f"tiny={address}"], "one", sampling=sampling)
    model = tiny_llama(len(tiny_tokenizer))
    own = TransformersGenerator(model, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    assert found == {"prompt": "one", "answer": "".join(own.stream("one", sampling))}


def test_faults_are_told_in_words(address):
    with pytest.raises(DanluError, match=r"404.*Did you mean 'tiny'"):
        answers_to([f"tini={address}"], "x")
    with pytest.raises(DanluError, match="cannot be asked"):
        load_speakers(["http://127.0.0.1:9/v1"])
    with pytest.raises(DanluError, match=r"does not say which models.*NAME="):
        load_speakers([f"{address}/elsewhere"])
    assert not is_address("runs/x")


@contextmanager
def saying(body):
    """A server that answers every request with these events, and hangs up."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"m=http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('data: {"error": {"message": "the engine fell over"}}\n\n', "the engine fell over"),
        ("data: <html>\n\n", "no JSON: '<html>'"),
        ("data: 5\n\n", "no event: '5'"),
    ],
)
def test_a_stream_that_breaks_is_no_answer(body, message):
    with saying(body) as name, pytest.raises(DanluError, match=message):
        answers_to([name], "x")
