"""Exactly the right weights move: by name, and bit by bit after a step."""

import pytest
import torch

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError, RecipeError
from danlu.models.layers import layer_numbers, parts_of
from danlu.models.tuning import METHODS, apply_tuning, trainable_parameters
from tests.tiny_models import tiny_llama

ALL_LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
ATTENTION = {f"self_attn.{name}_proj" for name in "qkvo"}
MLP = {f"mlp.{name}_proj" for name in ("gate", "up", "down")}
NORMS = {"input_layernorm", "post_attention_layernorm"}


def in_layers(parts, layers=(0, 1)):
    return {f"model.layers.{layer}.{part}.weight" for layer in layers for part in parts}


def step(model):
    """One optimizer step on a random target, with weight decay: it would move any row it may."""
    before = {name: part.detach().clone() for name, part in model.named_parameters()}
    ids = torch.tensor([[5, 17, 42, 300, 8, 359]])
    optimizer = torch.optim.AdamW(trainable_parameters(model).values(), lr=1e-2, weight_decay=0.1)
    model.train()
    for _ in range(2):  # LoRA's A has no gradient while B is zero
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return {name for name, part in model.named_parameters() if not torch.equal(part, before[name])}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"parts": ["attention"]}, in_layers(ATTENTION)),
        ({"parts": ["mlp"]}, in_layers(MLP)),
        ({"parts": ["norms"]}, in_layers(NORMS) | {"model.norm.weight"}),
        ({"parts": ["layers"]}, in_layers(ATTENTION | MLP | NORMS)),
        ({"parts": ["embedding"]}, {"model.embed_tokens.weight"}),
        ({"parts": ["head"]}, {"lm_head.weight"}),
        ({"parts": ["head", "mlp"]}, in_layers(MLP) | {"lm_head.weight"}),
        ({"layers": [-1]}, in_layers(ATTENTION | MLP | NORMS, [1])),
        ({"layers": [0], "parts": ["norms"]}, in_layers(NORMS, [0])),
        (
            {"layers": [0], "parts": ["attention", "embedding"]},
            in_layers(ATTENTION, [0]) | {"model.embed_tokens.weight"},
        ),
    ],
)
def test_full_moves_the_chosen_parts_and_nothing_else(settings, expected):
    model = tiny_llama(tie_word_embeddings=False)
    model = apply_tuning(model, TuningSection(method="full", **settings))
    assert trainable_parameters(model).keys() == expected
    assert step(model) == expected


@pytest.mark.parametrize("tied", [True, False])
def test_full_alone_moves_everything(tied):
    model = tiny_llama(tie_word_embeddings=tied)
    model.requires_grad_(False)
    model = apply_tuning(model, TuningSection(method="full"))
    everything = {name for name, _ in model.named_parameters()}
    assert trainable_parameters(model).keys() == everything
    assert step(model) == everything


def test_a_tied_matrix_is_both_embedding_and_head():
    model = tiny_llama()
    assert parts_of(model)["model.embed_tokens.weight"] == (None, {"embedding", "head"})
    for part in ("embedding", "head"):
        with pytest.raises(RecipeError, match="one matrix"):
            apply_tuning(model, TuningSection(method="full", parts=[part]))
    both = TuningSection(method="full", parts=["embedding", "head"])
    assert trainable_parameters(apply_tuning(model, both)).keys() == {"model.embed_tokens.weight"}


@pytest.mark.parametrize(
    ("settings", "where", "hint"),
    [
        ({"method": "full", "layers": [2]}, "tuning.layers", "layers 0 to 1"),
        ({"method": "lora", "layers": [-3]}, "tuning.layers", "layers 0 to 1"),
        ({"method": "lora", "layers": [1, -1]}, "tuning.layers", "twice"),
        (
            {"method": "full", "layers": [0], "parts": ["embedding", "head"]},
            "tuning.layers",
            "outside the layers",
        ),
        ({"lora_targets": ["q_pro"]}, "tuning.lora_targets", "Did you mean 'q_proj'"),
        ({"lora_targets": ["q_proj", "mlp.q_proj"]}, "tuning.lora_targets", "mlp.q_proj"),
        ({"lora_targets": ["lm_head"]}, "tuning.lora_targets", "no linear|has a linear"),
        ({"lora_options": {"use_rslor": 1}}, "tuning.lora_options.use_rslor", "'use_rslora'"),
        ({"lora_options": {"r": 4}}, "tuning.lora_options.r", "tuning.lora_rank"),
        ({"lora_options": {"bias": "some"}}, "tuning.lora_options", "PEFT refuses"),
        ({"lora_options": {"init_lora_weights": "xx"}}, "tuning.lora_options", "PEFT refuses"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(settings, where, hint):
    with pytest.raises(RecipeError, match=hint) as caught:
        apply_tuning(tiny_llama(), TuningSection(**settings))
    assert caught.value.where == where


def test_a_part_the_model_lacks_is_told(monkeypatch):
    model = tiny_llama(tie_word_embeddings=False)
    model.lm_head = None
    with pytest.raises(RecipeError, match="no weights in part 'head'"):
        apply_tuning(model, TuningSection(method="full", parts=["head"]))


def test_a_model_without_a_list_of_layers_is_told():
    model = tiny_llama()
    model.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match="no list of 7 decoder layers"):
        apply_tuning(model, TuningSection())


def lora_names(model):
    """(layer, linear part) of each adapter."""
    found = set()
    for name in trainable_parameters(model):
        path = name.split(".")
        at = path.index("layers")
        found.add((int(path[at + 1]), path[at + 3]))
    return found


@pytest.mark.parametrize(
    ("settings", "layers", "targets"),
    [
        ({}, (0, 1), ALL_LINEAR),
        ({"layers": [-1]}, (1,), ALL_LINEAR),
        ({"lora_targets": "q_proj"}, (0, 1), {"q_proj"}),
        (
            {"lora_targets": ["self_attn.v_proj", "q_proj"], "layers": [0]},
            (0,),
            {"q_proj", "v_proj"},
        ),
    ],
)
@pytest.mark.parametrize("tied", [True, False])
def test_lora_moves_its_adapters_and_nothing_else(settings, layers, targets, tied):
    model = apply_tuning(tiny_llama(tie_word_embeddings=tied), TuningSection(**settings))
    names = set(trainable_parameters(model))
    assert all("lora_" in name for name in names)
    assert lora_names(model) == {(layer, target) for layer in layers for target in targets}
    assert step(model) == names


def test_lora_starts_from_the_model_as_it_was_with_alpha_equal_to_rank():
    ids = torch.tensor([[5, 17, 42]])
    before = tiny_llama()(input_ids=ids).logits
    model = apply_tuning(tiny_llama(), TuningSection(lora_rank=4))
    assert torch.equal(model(input_ids=ids).logits, before)
    config = model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 4, 0.0)
    given = TuningSection(lora_rank=4, lora_alpha=8, lora_dropout=0.1)
    config = apply_tuning(tiny_llama(), given).peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 8, 0.1)


@pytest.mark.parametrize("option", ["use_dora", "use_rslora"])
def test_lora_options_reach_peft(option):
    model = apply_tuning(tiny_llama(), TuningSection(lora_options={option: True}))
    assert getattr(model.peft_config["default"], option) is True
    assert step(model) == set(trainable_parameters(model))


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_train_their_rows_alone_under_lora(tied):
    """The head and the embedding see the new rows; every other row stays, to the bit."""
    model = tiny_llama(tie_word_embeddings=tied)
    model = apply_tuning(model, TuningSection(), new_token_ids=(360, 361))
    rows = {name for name in trainable_parameters(model) if "lora_" not in name}
    assert len(rows) == (1 if tied else 2)
    assert all(trainable_parameters(model)[name].shape == (2, 32) for name in rows)
    frozen = model.get_input_embeddings().weight.detach().clone()
    assert rows < step(model)
    now = model.get_input_embeddings()(torch.arange(362))
    assert torch.equal(now[:360], frozen[:360])
    assert not torch.equal(now[360:], frozen[360:])


def test_new_tokens_under_full_need_the_embedding():
    model = tiny_llama()
    with pytest.raises(RecipeError, match="rows are frozen"):
        apply_tuning(model, TuningSection(method="full", parts=["mlp"]), new_token_ids=(360,))
    whole = apply_tuning(model, TuningSection(method="full"), new_token_ids=(360,))
    assert "model.embed_tokens.weight" in trainable_parameters(whole)


def test_every_method_of_the_recipe_has_its_file():
    allowed = TuningSection.model_fields["method"].annotation.__args__
    assert set(METHODS) == set(allowed)


def test_layer_numbers_count_from_the_end_too():
    assert layer_numbers([-1, 0, -30], 31) == [0, 1, 30]
    assert layer_numbers([], 2) == []
