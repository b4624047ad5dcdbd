"""The transformers generator: batches equal single answers, whatever shares their batch."""

from dataclasses import replace

import pytest
import torch

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError
from danlu.generation import Sampling
from danlu.generation import decode as decoding
from danlu.generation.decode import Room, shared_length, takes_batches
from danlu.generation.local import TransformersGenerator
from danlu.models.attention import FOREST_ATTENTION
from danlu.models.tuning import apply_tuning
from danlu.records.record import Message
from danlu.sequences.branches import turns
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import tiny_llama

GREEDY = Sampling(max_new_tokens=12, greedy=True, logprobs=True)
DRAWN = Sampling(max_new_tokens=12, temperature=1.0, seed=3, logprobs=True)
PROMPTS = [
    "one",
    "What is the name of the furnace?",
    "你叫什么名字？",
    "a question and an answer",
    "",
]


@pytest.fixture
def template(tiny_tokenizer):
    return ChatTemplate.load(tiny_tokenizer)


@pytest.fixture
def generator(tiny_tokenizer, template):
    return TransformersGenerator(tiny_llama(), tiny_tokenizer, template)


def assert_same(left, right):
    assert [one.token_ids for one in left] == [one.token_ids for one in right]
    assert [one.text for one in left] == [one.text for one in right]
    for one, other in zip(left, right, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def reference(generator, prompt, tokens):
    """Greedy decoding without cache, padding or batch: the whole row anew for each token."""
    ids = generator.encode(prompt)
    answer, scores = [], []
    with torch.no_grad():
        while len(answer) < tokens:
            logits = generator.model(input_ids=torch.tensor([ids + answer])).logits[0, -1]
            answer.append(int(logits.argmax()))
            scores.append(float(logits.log_softmax(-1)[answer[-1]]))
            if answer[-1] in generator.stop_ids:
                break
    return tuple(answer), scores


def test_a_batch_equals_decoding_without_cache_or_padding(generator):
    for prompt, found in zip(PROMPTS, generator.generate(PROMPTS, GREEDY), strict=True):
        answer, scores = reference(generator, prompt, 12)
        assert found.token_ids == answer
        assert found.logprobs == pytest.approx(scores, abs=1e-4)
        assert found.finished == (answer[-1] in generator.stop_ids)


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_answers_do_not_depend_on_the_batch(generator, sampling, rows):
    whole = generator.generate(PROMPTS, sampling)
    assert len({one.token_ids for one in whole}) == len(PROMPTS)  # a mix-up of rows would show
    generator.batch_rows = rows
    again = generator.generate(PROMPTS, sampling)
    assert_same(again, whole)
    assert [len(one.logprobs) for one in again] == [len(one.token_ids) for one in whole]


def test_another_seed_draws_other_answers(generator):
    def answers(seed):
        sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=seed)
        return [one.token_ids for one in generator.generate(PROMPTS, sampling)]

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)
    same_prompt = generator.generate(["one"] * 4, DRAWN)
    assert len({one.token_ids for one in same_prompt}) > 1


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN])
def test_a_stream_joins_to_the_answer(generator, sampling):
    for prompt in PROMPTS:
        (whole,) = generator.generate([prompt], sampling)
        assert "".join(generator.stream(prompt, sampling)) == whole.text


def test_answers_end_at_the_stop_token_and_leave_it_out_of_the_text(generator, tiny_tokenizer):
    """The stop token's row of the head is made to win at once, or after others."""
    first = generator.generate(PROMPTS, GREEDY)[1].token_ids[1]
    generator.model.generation_config.eos_token_id = [first]
    found = generator.generate(PROMPTS, GREEDY)
    assert found[1].token_ids[1] == first
    assert len(found[1].token_ids) == 2
    assert found[1].finished
    assert found[1].text == tiny_tokenizer.decode(list(found[1].token_ids[:1]))
    assert len(found[1].logprobs) == 2
    assert generator.stop_ids == {2, first}
    assert any(len(one.token_ids) > 2 for one in found)  # others went on in a smaller batch


def test_prompts_are_what_training_shows(generator, template, tiny_tokenizer):
    from danlu.config.recipe import SequencesSection
    from danlu.records.record import Record
    from danlu.sequences.encode import encode_prompt

    messages = (Message("system", "be brief"), Message("user", "one"), Message("assistant", "two"))
    (turn,) = turns(Record("r", "a/b", messages), template, SequencesSection())
    assert generator.encode(messages[:2]) == encode_prompt(tiny_tokenizer, turn.prompt_text)
    assert generator.encode("one") == generator.encode([Message("user", "one")])


def test_the_shared_beginning_is_computed_once(generator, monkeypatch):
    """All prompts begin with the template's header; one forward pass has one row."""
    shapes = []
    forward = generator.model.forward

    def counting(*args, **kwargs):
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(generator.model, "forward", counting)
    generator.generate(PROMPTS, Sampling(max_new_tokens=2, greedy=True))
    prompts = [generator.encode(prompt) for prompt in PROMPTS]
    shared = shared_length(prompts)
    assert shared > 2
    assert shapes[0] == (1, shared)
    assert shapes[1] == (5, max(map(len, prompts)) - shared)


def test_a_model_in_training_is_left_as_it_was(tiny_tokenizer, template):
    model = apply_tuning(tiny_llama(), TuningSection(lora_rank=2, lora_dropout=0.5))
    expected = TransformersGenerator(tiny_llama(), tiny_tokenizer, template).generate(
        PROMPTS, GREEDY
    )
    model.train()
    model.set_attn_implementation(FOREST_ATTENTION)
    generator = TransformersGenerator(model, tiny_tokenizer, template)
    assert_same(generator.generate(PROMPTS, GREEDY), expected)
    assert model.training
    assert all(module.training for module in model.modules())
    assert model.config._attn_implementation == FOREST_ATTENTION
    stream = generator.stream("one", GREEDY)
    next(stream)
    stream.close()
    assert model.training
    assert model.config._attn_implementation == FOREST_ATTENTION


def test_no_gradient_is_kept_and_none_is_switched_off_outside(generator):
    stream = generator.stream("one", GREEDY)
    next(stream)
    assert torch.is_grad_enabled()
    stream.close()


def test_the_context_is_never_overrun(tiny_tokenizer, template):
    generator = TransformersGenerator(
        tiny_llama(max_position_embeddings=40), tiny_tokenizer, template
    )
    prompt = "one two three"
    length = len(generator.encode(prompt))
    (found,) = generator.generate([prompt], Sampling(max_new_tokens=1000, greedy=True))
    assert found.finished or length + len(found.token_ids) == 40
    with pytest.raises(ModelError, match="context ends at 40"):
        generator.generate([prompt * 10], GREEDY)
    with pytest.raises(ModelError, match="no tokens"):
        generator.generate_ids([[]], GREEDY)


def watched(generator, monkeypatch):
    """Note the rows of every forward pass, and the width of what is kept of them."""
    shapes = []
    forward = generator.model.forward

    def noting(*args, **kwargs):
        output = forward(*args, **kwargs)
        rows, new = kwargs["input_ids"].shape
        shapes.append((rows, new, output.past_key_values.layers[0].keys.shape[2]))
        return output

    monkeypatch.setattr(generator.model, "forward", noting)
    return shapes


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN])
def test_prompts_that_wait_take_free_places_and_are_answered_as_alone(
    generator, monkeypatch, sampling
):
    """Nine prompts, three places, answers of one to nine tokens: places are not left empty."""
    prompts = [generator.encode("one two " * (k + 1)) for k in range(9)]
    limits = [1, 1, 7, 4, 2, 8, 3, 1, 9]
    sampling = replace(sampling, max_new_tokens=9)
    alone = {}
    for place, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
        [(_, alone[place])] = generator.answer_each(
            [prompt], sampling, seeds=[place], limits=[limit]
        )
    generator.batch_rows = 3
    shapes = watched(generator, monkeypatch)
    found = dict(generator.answer_each(prompts, sampling, seeds=range(9), limits=limits))
    assert found.keys() == alone.keys()
    assert_same([found[place] for place in range(9)], [alone[place] for place in range(9)])
    steps = [rows for rows, new, _ in shapes if new == 1]
    assert max(steps) == 3
    # Three batches, each to the end of its longest answer, would be 8 + 7 + 6 = 21 steps.
    assert len(steps) < 18


def test_padding_that_no_answer_has_any_more_is_dropped(generator, monkeypatch):
    """The longest prompt ends first; what is kept of the short ones is as short as they are."""
    prompts = [[5] * 60, [6] * 4, [7] * 5]
    shapes = watched(generator, monkeypatch)
    dict(generator.answer_each(prompts, GREEDY, limits=[1, 6, 6]))
    assert shapes[0] == (3, 60, 60)
    assert shapes[1] == (2, 1, 6)


def test_places_are_taken_within_the_limits_of_rows_and_memory():
    sizes = [70, 60, 17, 16, 15]
    assert decoding.joining([], sizes, Room(3, 10_000)) == 3
    assert decoding.joining([], sizes, Room(3, 150)) == 2
    assert decoding.joining([], sizes, Room(3, 1)) == 1  # one is answered, however long
    assert decoding.joining([70], sizes[1:], Room(3, 150)) == 1
    assert decoding.joining([70, 60], sizes[2:], Room(3, 150)) == 0
    assert decoding.joining([15] * 6, [15], Room(8, 10_000)) == 1  # nobody else waits
    assert decoding.joining([15] * 6, [15] * 9, Room(7, 10_000)) == 0
    assert decoding.joining([15] * 6, [15] * 9, Room(8, 10_000)) == 2


def test_a_model_whose_state_takes_up_padding_answers_one_at_a_time(generator, monkeypatch):
    from transformers import Mamba2Config, Mamba2ForCausalLM

    assert takes_batches(generator.model)
    sizes = {"hidden_size": 16, "num_heads": 4, "head_dim": 8, "state_size": 8, "n_groups": 1}
    mamba = Mamba2ForCausalLM(Mamba2Config(vocab_size=360, num_hidden_layers=1, **sizes))
    assert not takes_batches(mamba)
    monkeypatch.setattr("danlu.generation.local.takes_batches", lambda model: False)
    shapes = watched(generator, monkeypatch)
    generator.generate(["one", "two"], GREEDY)
    assert {rows for rows, _, _ in shapes} == {1}


def test_nothing_asked_nothing_answered(generator):
    assert generator.generate([], GREEDY) == []


def test_shared_beginnings_leave_each_row_a_token():
    assert shared_length([[1, 2, 3]]) == 2
    assert shared_length([[7, 2], [1, 2]]) == 0
    assert decoding.shared_length([[1], [1, 2]]) == 0
