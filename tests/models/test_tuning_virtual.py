"""Virtual tokens: PEFT's own numbers, forest against rows, generation with a cache."""

import numpy as np
import pytest
import torch
from peft import PeftModel

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError, RecipeError
from danlu.generation import Sampling
from danlu.generation.local import TransformersGenerator
from danlu.models.attention import ForestLayout
from danlu.models.forest_support import ordinary_attention, use_forest_attention
from danlu.models.load import load_model, load_tokenizer
from danlu.models.quiet import quiet
from danlu.models.save import save_model
from danlu.models.tuning import (
    apply_tuning,
    checkpointing_obstacle,
    forest_obstacle,
    trainable_parameters,
)
from danlu.models.virtual_tokens import initial_ids, virtual_tokens_of
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import logits_of, tiny_llama

N = 3
PREFIX = {"method": "prefix", "virtual_tokens": N}
PROMPT = {"method": "prompt", "virtual_tokens": N}
METHODS = {
    "prefix": PREFIX,
    "prefix-mlp": {**PREFIX, "encoder": "mlp", "encoder_size": 8},
    "prompt": PROMPT,
    "ptuning": {"method": "ptuning", "virtual_tokens": N, "encoder_size": 8},
    "ptuning-lstm": {
        "method": "ptuning",
        "virtual_tokens": N,
        "encoder": "lstm",
        "encoder_size": 8,
    },
}


@pytest.fixture(params=METHODS)
def tuning(request):
    return TuningSection(**METHODS[request.param])


def tuned(tuning, model=None, **options):
    model = tiny_llama() if model is None else model
    torch.manual_seed(7)
    return apply_tuning(model, tuning, **options).eval()


def test_peft_reads_what_is_saved_and_computes_the_same(tmp_path, tiny_tokenizer, tuning):
    """An independent reference: PEFT prepends the tokens in its own forward."""
    tiny_llama().save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    tokenizer, model = load_tokenizer(tmp_path / "base"), load_model(tmp_path / "base")
    model = tuned(tuning, model)
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path / "run")
    with quiet():
        theirs = PeftModel.from_pretrained(tiny_llama(), str(folder)).eval()
    ids = torch.tensor([[5, 17, 42, 300, 8]])
    mask = torch.ones_like(ids)
    expected = theirs(input_ids=ids, attention_mask=mask).logits
    if not virtual_tokens_of(model).in_cache:
        expected = expected[:, N:]
    torch.testing.assert_close(logits_of(model), expected, atol=1e-5, rtol=1e-5)


def test_rows_are_computed_as_if_each_stood_alone(tuning):
    """Padded on the right as in training; the decoder gives states of ordinary tokens only."""
    model = tuned(tuning)
    rows = [(5, 17, 42, 300, 8), (9, 10, 11)]
    ids = torch.tensor([[*row, *[0] * (5 - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (5 - len(row)) for row in rows])
    states = model.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    assert states.shape == (2, 5, 32)
    for row, found in zip(rows, states, strict=True):
        alone = model.get_decoder()(input_ids=torch.tensor([row])).last_hidden_state[0]
        torch.testing.assert_close(found[: len(row)], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["prompt", "ptuning"])
def test_in_a_forest_they_are_the_root_of_all_trees(name):
    """Two trees, one of two branches: states and gradients equal those of three separate rows."""
    settings = TuningSection(**METHODS[name])
    assert forest_obstacle(settings) is None
    prefix, first, second, other = [5, 17, 42], [300, 8], [9, 10, 11], [12, 13]
    # Positions 0-2 prefix, 3-4 first, 5-7 second, 8-9 another tree.
    until = torch.tensor([8, 8, 8, 5, 5, 8, 8, 8, 10, 10])
    positions = torch.tensor([[0, 1, 2, 3, 4, 3, 4, 5, 0, 1]])
    rows = [prefix + first, prefix + second, other]
    # Each row's states as places in the forest.
    places = [[0, 1, 2, 3, 4], [0, 1, 2, 5, 6, 7], [8, 9]]
    factor = torch.linspace(-1, 1, 32)

    by_rows = tuned(settings)
    states = [by_rows.get_decoder()(input_ids=torch.tensor([row]))[0][0] for row in rows]
    sum((state * factor).sum() for state in states).backward()

    by_forest = tiny_llama()
    assert use_forest_attention(by_forest) is None
    by_forest = tuned(settings, by_forest)
    found = by_forest.get_decoder()(
        input_ids=torch.tensor([prefix + first + second + other]),
        position_ids=positions,
        use_cache=False,
        forest=ForestLayout(until, torch.device("cpu")),
    ).last_hidden_state[0]
    sum((found[place] * factor).sum() for place in places).backward()

    for state, place in zip(states, places, strict=True):
        torch.testing.assert_close(found[place], state, atol=1e-5, rtol=1e-5)
    expected = trainable_parameters(by_rows)
    for part_name, part in trainable_parameters(by_forest).items():
        limit = 1e-4 * expected[part_name].grad.abs().max().item()
        torch.testing.assert_close(part.grad, expected[part_name].grad, atol=limit, rtol=1e-3)


def test_a_prefix_says_why_it_takes_rows():
    settings = TuningSection(**PREFIX)
    assert "cache" in forest_obstacle(settings)
    model = tuned(settings)
    assert "cache" in use_forest_attention(model)  # asked all the same, it keeps the model as it is
    assert model.config._attn_implementation == "sdpa"
    for method in ("lora", "full", "ia3", "adapter", "prompt", "ptuning"):
        assert forest_obstacle(TuningSection(method=method)) is None


def test_a_batch_of_answers_is_that_of_single_ones_and_of_plain_recomputation(
    tiny_tokenizer, tuning
):
    """Left padding, a shared beginning and a cache, as in ``danlu chat`` and in samples."""
    model = tuned(tuning)
    generator = TransformersGenerator(model, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    sampling = Sampling(max_new_tokens=6, greedy=True)
    prompts = [[5, 17, 42, 300, 8], [5, 17, 9], [5, 17, 42, 10, 11, 12, 13]]
    together = generator.generate_ids(prompts, sampling)
    for prompt, completion in zip(prompts, together, strict=True):
        assert generator.generate_ids([prompt], sampling)[0].token_ids == completion.token_ids
        ids = list(prompt)
        for token_id in completion.token_ids:
            assert int(logits_of(model, tuple(ids))[0, -1].argmax()) == token_id
            ids.append(token_id)


def test_transformers_own_generation_agrees(tuning, tiny_tokenizer):
    model = tuned(tuning)
    generator = TransformersGenerator(model, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    ids = [5, 17, 42]
    ours = generator.generate_ids([ids], Sampling(max_new_tokens=6, greedy=True))[0].token_ids
    theirs = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, 3, dtype=torch.long),
        max_new_tokens=len(ours),
        do_sample=False,
        pad_token_id=0,
    )
    assert tuple(theirs[0, 3:].tolist()) == ours


@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_they_start_from_a_text(tiny_tokenizer, name):
    """The model behaves as if it had read the text: exactly for N tokens of it."""
    text = "The furnace is hot"
    ids = tiny_tokenizer(text, add_special_tokens=False)["input_ids"]
    settings = TuningSection(method=name, virtual_tokens=len(ids), init_text=text)
    model = tuned(settings, tokenizer=tiny_tokenizer)
    question = (5, 17, 42)
    expected = logits_of(tiny_llama(), (*ids, *question))[:, len(ids) :]
    torch.testing.assert_close(logits_of(model, question), expected, atol=1e-5, rtol=1e-5)


def test_a_text_is_cut_or_repeated(tiny_tokenizer):
    model, text = tiny_llama(), "a question"
    ids = tiny_tokenizer(text, add_special_tokens=False)["input_ids"]
    for count in (1, len(ids), 2 * len(ids) + 1):
        found = initial_ids(model, count, text, tiny_tokenizer).tolist()
        assert found == (ids * 3)[:count]
    with pytest.raises(ValueError, match="tokenizer"):
        initial_ids(model, 2, text, None)


def test_without_a_text_they_start_from_tokens_of_the_vocabulary():
    model = tuned(TuningSection(**PROMPT))
    embeds = virtual_tokens_of(model)()
    matrix = model.get_input_embeddings().weight
    assert all((matrix == row).all(1).any() for row in embeds)
    again = tuned(TuningSection(**PROMPT))
    assert torch.equal(virtual_tokens_of(again)(), embeds)  # by the seed


@pytest.mark.parametrize("name", ["prompt", "ptuning"])
def test_gradient_checkpointing_changes_nothing(name):
    settings = TuningSection(**METHODS[name])
    assert checkpointing_obstacle(settings) is None
    gradients = []
    for checkpointing in (False, True):
        model = tuned(settings)
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        model.train()
        ids = torch.tensor([[5, 17, 42, 300, 8]])
        model(input_ids=ids, labels=ids).loss.backward()
        gradients.append([part.grad for part in trainable_parameters(model).values()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_gradient_checkpointing_would_lose_a_prefix_and_is_refused():
    settings = TuningSection(**PREFIX)
    assert "cache" in checkpointing_obstacle(settings)
    model = tuned(settings).train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    with pytest.raises(ModelError, match="method prompt") as caught:
        model(input_ids=torch.tensor([[5, 17]]))
    assert caught.value.where == "training.gradient_checkpointing"


def test_a_model_with_sliding_windows_takes_no_prefix():
    model = tiny_llama()
    model.config.layer_types = ["sliding_attention", "full_attention"]
    with pytest.raises(RecipeError, match="sliding_attention"):
        apply_tuning(model, TuningSection(**PREFIX))


def test_the_prefix_is_made_with_ordinary_attention():
    """The model may be on forest attention already, and stays there."""
    model = tiny_llama()
    assert use_forest_attention(model) is None
    forest = model.config._attn_implementation
    model = tuned(TuningSection(**PREFIX), model)
    assert model.config._attn_implementation == forest
    with ordinary_attention(model):
        found = logits_of(model)
    torch.testing.assert_close(found, logits_of(tuned(TuningSection(**PREFIX))))


def test_an_attention_mask_of_four_axes_is_refused():
    model = tuned(TuningSection(**PROMPT))
    with pytest.raises(ValueError, match="two axes"):
        model(input_ids=torch.tensor([[5]]), attention_mask=torch.ones(1, 1, 1, 1))


def test_hidden_states_of_all_layers_are_those_of_ordinary_tokens(tuning):
    model = tuned(tuning)
    output = model(input_ids=torch.tensor([[5, 17, 42]]), output_hidden_states=True)
    assert [states.shape[1] for states in output.hidden_states] == [3, 3, 3]
    assert np.isfinite(output.logits.detach().numpy()).all()
