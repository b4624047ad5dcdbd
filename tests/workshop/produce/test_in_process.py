"""A Danlu model behind the engine: each answer is its own, whatever shares its batch."""

import pytest

from danlu.generation.interface import Sampling
from danlu.generation.load import fingerprint
from danlu.generation.local import TransformersGenerator
from danlu.records import Message
from danlu.sequences.template import ChatTemplate
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.engine import Engine
from danlu.workshop.produce.in_process import InProcess
from danlu.workshop.produce.request import Request, Unanswered
from tests.tiny_models import tiny_llama

DRAWN = Sampling(max_new_tokens=8, temperature=1.0)
GREEDY = Sampling(max_new_tokens=8, greedy=True)
LONG = "furnace " * 400


@pytest.fixture
def generator(tiny_tokenizer):
    return TransformersGenerator(tiny_llama(), tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))


def ask(text, sampling=DRAWN, sample=0):
    return Request((Message("user", text),), sampling, sample)


def test_answers_do_not_depend_on_what_shares_their_batch(generator, tmp_path):
    requests = [
        ask(text, sampling, k) for text in "abc" for sampling in (DRAWN, GREEDY) for k in range(2)
    ]
    with (
        RequestCache(tmp_path / "together") as cache,
        Engine(InProcess(generator, "tiny"), cache) as engine,
    ):
        together = engine.ask(requests)
        assert engine.purse.completion_tokens > 0
    for request, expected in zip(requests, together, strict=True):
        with (
            RequestCache(tmp_path / f"{id(request)}") as cache,
            Engine(InProcess(generator, "tiny"), cache) as engine,
        ):
            assert engine.ask([request]) == [expected]
    texts = [one.text for one in together]
    assert texts[0] != texts[1]  # Two samples drawn,
    assert texts[2] == texts[3]  # and two that are both the likeliest.


def test_a_prompt_without_room_is_refused_and_the_others_are_answered(generator, tmp_path):
    with (
        RequestCache(tmp_path / "requests") as cache,
        Engine(InProcess(generator, "tiny"), cache) as engine,
    ):
        good, bad = engine.ask([ask("one"), ask(LONG)])
    assert good.completion_tokens >= 1
    assert isinstance(bad, Unanswered)
    assert bad.refused
    assert "the context is 256" in bad.reason


def test_a_fault_of_the_model_is_no_silence(generator, tmp_path):
    def broken(*args, **kwargs):
        raise RuntimeError("out of memory")

    generator.generate_ids = broken
    with (
        RequestCache(tmp_path / "requests") as cache,
        Engine(InProcess(generator, "tiny"), cache) as engine,
        pytest.raises(ExceptionGroup) as told,
    ):
        engine.ask([ask("one"), ask("two")])
    assert told.group_contains(RuntimeError, match="out of memory")


def test_seeds_of_their_own(generator):
    prompts = [generator.encode(text) for text in ("a", "b", "a")]
    drawn = generator.generate_ids(prompts, DRAWN, seeds=[5, 6, 7])
    for prompt, seed, completion in zip(prompts, (5, 6, 7), drawn, strict=True):
        [alone] = generator.generate_ids([prompt], Sampling(8, temperature=1.0, seed=seed))
        assert alone.text == completion.text


def test_the_fingerprint_follows_the_weights(tiny_tokenizer):
    template = ChatTemplate.load(tiny_tokenizer)
    marks = [
        fingerprint(TransformersGenerator(tiny_llama(seed=seed), tiny_tokenizer, template))
        for seed in (0, 0, 1)
    ]
    assert marks[0] == marks[1] != marks[2]
