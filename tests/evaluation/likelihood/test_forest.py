"""Log-probabilities in one forest pass equal those of each text computed by itself."""

import math
from typing import Any

import pytest
import torch

from danlu.evaluation.likelihood.forest import LikelihoodModel, Wanted
from danlu.generation.local import TransformersGenerator
from danlu.records.record import Message
from danlu.sequences.encode import encode_completion, encode_prompt
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import tiny_llama

SYSTEM = Message("system", "Answer with one of the options. " * 3)
QUESTIONS = ("What is the furnace?", "丹炉是什么？")
OPTIONS = ("hot", "the iron is red", "炉子", "one two three four")


@pytest.fixture(scope="module")
def generator(tiny_tokenizer: Any) -> TransformersGenerator:
    return TransformersGenerator(tiny_llama(), tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))


def wanted() -> list[Wanted]:
    return [
        Wanted((SYSTEM, Message("user", question)), option)
        for question in QUESTIONS
        for option in OPTIONS
    ]


@torch.no_grad()
def by_itself(generator: TransformersGenerator, one: Wanted) -> tuple[float, int]:
    """The sum of log-probabilities of the answer and its stop token, from plain logits."""
    prompt = generator.encode(one.messages)
    completion = encode_completion(generator.tokenizer, one.text + "<|im_end|>")
    logits = generator.model(input_ids=torch.tensor([prompt + completion])).logits[0].double()
    logprobs = torch.log_softmax(logits, -1)
    places = range(len(prompt) - 1, len(prompt) + len(completion) - 1)
    total = sum(logprobs[k, token].item() for k, token in zip(places, completion, strict=True))
    return total, len(completion)


@pytest.mark.parametrize("pack_tokens", [4096, 60, 1])
@pytest.mark.parametrize("forest", [True, False])
def test_each_option_gets_what_it_gets_alone(
    generator: TransformersGenerator, forest: bool, pack_tokens: int
) -> None:
    expected = [by_itself(generator, one) for one in wanted()]
    model = LikelihoodModel(generator, forest=forest, pack_tokens=pack_tokens)
    assert (model.reason is None) == forest
    heard: dict[int, Any] = {}
    found = model.logprobs(wanted(), heard.__setitem__, [k // 4 for k in range(8)])
    assert [one.tokens for one in found] == [tokens for _, tokens in expected]
    assert [one.logprob for one in found] == pytest.approx([v for v, _ in expected], abs=2e-4)
    assert [heard[k] for k in range(8)] == found


def test_a_shared_prompt_is_computed_once(
    generator: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from danlu.training import scoring

    seen = []
    true = scoring.token_states
    monkeypatch.setattr(
        scoring, "token_states", lambda model, pack: seen.append(pack.tokens) or true(model, pack)
    )
    LikelihoodModel(generator).logprobs(wanted())
    prompt = len(generator.encode(wanted()[0].messages))
    assert len(seen) == 1
    # Both questions with all options are less than two prompts of the first and 80 tokens more.
    assert seen[0] < 2 * prompt + 80


def test_plain_text_is_read_from_its_second_token(generator: TransformersGenerator) -> None:
    text = "one two three 丹炉"
    [found] = LikelihoodModel(generator).logprobs([Wanted((Message("text", text),), text)])
    ids = torch.tensor([encode_prompt(generator.tokenizer, text)])
    with torch.no_grad():
        loss = generator.model(input_ids=ids, labels=ids).loss.item()
    assert found.tokens == ids.shape[1] - 1
    assert found.logprob is not None
    assert -found.logprob / found.tokens == pytest.approx(loss, rel=1e-4)


def test_what_does_not_fit_is_told_and_the_others_are_scored(
    generator: TransformersGenerator,
) -> None:
    long = Wanted((Message("user", "a " * 400),), "hot")
    empty = Wanted((Message("user", "a"),), " ")
    ordinary = wanted()[0]
    found = LikelihoodModel(generator).logprobs([long, ordinary, empty])
    assert found[0].logprob is None
    assert "context is 256" in found[0].problem
    assert found[1].logprob == pytest.approx(by_itself(generator, ordinary)[0], abs=2e-4)
    assert found[2].logprob is None


def test_generation_after_it_is_as_before(generator: TransformersGenerator) -> None:
    from danlu.generation import Sampling

    sampling = Sampling(6, greedy=True)
    before = generator.generate(["one"], sampling)
    LikelihoodModel(generator).logprobs(wanted())
    assert generator.generate(["one"], sampling) == before


def test_probabilities_of_all_continuations_sum_to_one(tiny_tokenizer: Any) -> None:
    """Of one-token plain texts after a first token, over the whole vocabulary."""
    model = tiny_llama(vocabulary=360)
    generator = TransformersGenerator(model, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    singles = [chr(k) for k in range(33, 127)]
    texts = [Wanted((Message("text", f"\n{one}"),), f"\n{one}") for one in singles]
    found = LikelihoodModel(generator).logprobs(texts)
    total = sum(math.exp(one.logprob) for one in found if one.logprob is not None)
    with torch.no_grad():
        start = encode_prompt(tiny_tokenizer, "\n")
        probs = torch.softmax(model(input_ids=torch.tensor([start])).logits[0, -1].double(), -1)
    ids = [encode_prompt(tiny_tokenizer, one) for one in singles]
    assert total == pytest.approx(sum(probs[one[0]].item() for one in ids), rel=1e-5)
