"""``/v1/embeddings``: decoders and encoders, every pooling, as OpenAI's client asks by default."""

import threading

import httpx2
import openai
import pytest
import torch

from danlu.cli.main import run
from danlu.serving.server.embeddings import pool
from danlu.serving.server.origin import Wanted
from danlu.serving.server.served import load_served
from tests.serving.server import serving, tiny_served
from tests.tiny_encoder import tiny_bert, word_tokenizer
from tests.tiny_models import tiny_llama

TEXTS = ["the furnace is hot", "炉", "one two three four five"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    model = tiny_bert()
    model.config.architectures = ["BertModel"]
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    [served] = load_served([Wanted("bert", str(folder))], progress=False)
    return served


@pytest.fixture(scope="module")
def tiny(tiny_tokenizer):
    return tiny_served(tiny_tokenizer)


@pytest.fixture(scope="module")
def address(tiny, encoder):
    with serving(tiny, encoder) as at:
        yield at


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made:
        yield made


def alone(model, tokenizer, text):
    """Hidden states by transformers itself, ``(T, D)``."""
    ids = torch.tensor([tokenizer(text).input_ids])
    with torch.no_grad():
        return getattr(model, "model", model)(input_ids=ids).last_hidden_state[0]


def test_a_decoders_embeddings_are_the_mean_of_its_last_states(client, tiny):
    """The client asks for base64 by itself, and turns it back into numbers."""
    found = client.embeddings.create(model="tiny", input=TEXTS)
    tokenizer = tiny.generator.tokenizer
    model = tiny_llama(len(tokenizer))
    for text, one in zip(TEXTS, found.data, strict=True):
        expected = torch.nn.functional.normalize(alone(model, tokenizer, text).mean(0), dim=0)
        assert one.embedding == pytest.approx(expected.tolist(), abs=1e-5)
    assert found.pooling == "mean"
    tokens = sum(len(tokenizer(text).input_ids) for text in TEXTS)
    assert found.usage.prompt_tokens == found.usage.total_tokens == tokens
    [single] = client.embeddings.create(model="tiny", input=TEXTS[1]).data
    assert single.embedding == pytest.approx(found.data[1].embedding, abs=1e-6)
    ids = tokenizer(TEXTS[1]).input_ids
    plain = client.embeddings.create(model="tiny", input=ids, encoding_format="float").data[0]
    assert plain.embedding == pytest.approx(single.embedding, abs=1e-6)


def test_an_encoders_embeddings_know_nothing_of_their_padding(client, encoder):
    found = client.embeddings.create(model="bert", input=["the furnace is hot", "炉"])
    for text, one in zip(["the furnace is hot", "炉"], found.data, strict=True):
        states = alone(tiny_bert(), encoder.generator.tokenizer, text)
        expected = torch.nn.functional.normalize(states.mean(0), dim=0)
        assert one.embedding == pytest.approx(expected.tolist(), abs=1e-5)


def test_poolings():
    states = torch.tensor([[3.0, 4.0], [0.0, 2.0], [6.0, 0.0]])
    assert pool(states, "first").tolist() == pytest.approx([0.6, 0.8])
    assert pool(states, "last").tolist() == [1.0, 0.0]
    assert pool(states, "mean").tolist() == pytest.approx([3 / 13**0.5, 2 / 13**0.5])


def test_many_texts_are_computed_in_parts_between_answers(client, tiny):
    """More tokens than a batch has, while somebody is answered."""
    texts = [f"{number} furnace" * 20 for number in range(40)]
    said = []

    def chat():
        found = client.completions.create(model="tiny", prompt="x", max_tokens=60, temperature=0)
        said.append(found.usage.completion_tokens)

    threads = [threading.Thread(target=chat) for _ in range(3)]
    for thread in threads:
        thread.start()
    found = client.embeddings.create(model="tiny", input=texts)
    for thread in threads:
        thread.join()
    assert said == [60] * 3
    one = client.embeddings.create(model="tiny", input=texts[-1]).data[0].embedding
    assert found.data[-1].embedding == pytest.approx(one, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"input": ""}, 400, "a text is empty"),
        ({"input": []}, 400, "input"),
        ({"input": [10**6]}, 400, "token ids must be from 0"),
        ({"input": "hot " * 500}, 400, "256 at most"),
        ({"input": "x", "dimensions": 8}, 400, "dimensions cannot be chosen"),
        ({"input": "x", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"input": "x", "model": "bart"}, 404, "Did you mean 'bert'"),
        ({"input": "hot " * 30, "model": "bert"}, 400, "24 at most"),
    ],
)
def test_wrong_requests(address, change, status, text):
    body = {"model": "tiny", **change}
    found = httpx2.post(f"{address}/v1/embeddings", json=body, timeout=30)
    assert found.status_code == status
    assert text in found.json()["error"]["message"]


def test_an_encoder_answers_nothing(client):
    asked = [{"role": "user", "content": "hot?"}]
    with pytest.raises(openai.BadRequestError, match="is an encoder"):
        client.chat.completions.create(model="bert", messages=asked)
    with pytest.raises(openai.BadRequestError, match="is an encoder"):
        client.completions.create(model="bert", prompt="hot")


def test_a_pooling_that_is_none(capsys):
    assert run(["serve", "x", "--pooling", "max", "--port", "0"]) == 2
    assert "there are mean, last, first" in capsys.readouterr().err
