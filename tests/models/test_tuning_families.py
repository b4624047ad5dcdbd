"""The methods over models of other families: fused projections, learned positions, scaled
embeddings, layers without an MLP module."""

import pytest
import torch
from torch import nn
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError
from danlu.models.adapters import without_adapter
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.models.tuning_ia3 import ia3_layers
from tests.tiny_models import logits_of, tiny_llama

V, D, INNER = 120, 32, 48
GPT2 = {"n_embd": D, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": V}
SIZES = {
    "hidden_size": D,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": V,
    "max_position_embeddings": 64,
}
QWEN = {**SIZES, "intermediate_size": INNER, "num_key_value_heads": 2, "head_dim": 16}
FAMILIES = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, intermediate_size=INNER)),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(**SIZES, ffn_dim=INNER, word_embed_proj_dim=D, dropout=0.0)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**QWEN)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**QWEN, layer_types=["full_attention"] * 2, sliding_window=64)
    ),
}
IDS = (5, 17, 42, 7)


def make(family):
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(8)  # so that logits differ clearly from token to token
    return model


def push(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_virtual_tokens_that_start_from_a_text_are_as_the_text_itself(monkeypatch, family, method):
    """Keys, values, positions and scales are those of real tokens in front."""
    front = (9, 3, 77)
    expected = logits_of(make(family), front + IDS)[:, 3:]
    tuning = TuningSection(method=method, virtual_tokens=3, init_text="x")
    monkeypatch.setattr(f"danlu.models.tuning_{method}.initial_ids", lambda *_: torch.tensor(front))
    model = apply_tuning(make(family), tuning).eval()
    torch.testing.assert_close(logits_of(model, IDS), expected, atol=1e-4, rtol=1e-4)
    with without_adapter(push(model)):
        assert torch.equal(logits_of(model, IDS), logits_of(make(family), IDS))


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("gpt2", {"attn.c_attn", "mlp.c_proj"}),
        ("gpt_neox", {"attention.query_key_value", "mlp.dense_4h_to_h"}),
        ("opt", {"self_attn.k_proj", "self_attn.v_proj", "fc2"}),
        ("qwen3", {"self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"}),
        ("gemma3", {"self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"}),
    ],
)
def test_ia3_finds_keys_values_and_the_last_layer_of_the_mlp(family, names):
    tuning = TuningSection(method="ia3")
    found = ia3_layers(make(family), tuning)
    assert len(found) == 2 * len(names)
    assert all(name.endswith(tuple(f".{wanted}" for wanted in names)) for name in found)
    plain = logits_of(make(family), IDS)
    model = apply_tuning(make(family), tuning).eval()
    torch.testing.assert_close(logits_of(model, IDS), plain)
    after = logits_of(push(model), IDS)
    assert (after - plain).abs().max() > 0.01
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits_of(merged, IDS), after, atol=1e-4, rtol=1e-4)


def test_ia3_takes_no_gate_for_the_mlps_last_layer():
    model = tiny_llama()
    for layer in model.model.layers:
        layer.mlp.shared_expert_gate = nn.Linear(D, 1)
    found = ia3_layers(model, TuningSection(method="ia3", layers=[0]))
    assert [name.rsplit(".", 1)[-1] for name in found] == ["k_proj", "v_proj", "down_proj"]


def test_ia3_asks_where_it_does_not_know():
    model = tiny_llama()
    for layer in model.model.layers:
        del layer.mlp.down_proj
    with pytest.raises(RecipeError, match="gate_proj, k_proj") as caught:
        ia3_layers(model, TuningSection(method="ia3"))
    assert caught.value.where == "tuning.ia3_targets"


def test_ia3_names_the_nearest_target():
    tuning = TuningSection(method="ia3", ia3_targets=["k_pro"])
    with pytest.raises(RecipeError, match="Did you mean 'k_proj'"):
        apply_tuning(tiny_llama(), tuning)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "qwen3", "gemma3"])
@pytest.mark.parametrize("form", ["serial", "parallel"])
def test_bottlenecks_find_their_parts(family, form):
    tuning = TuningSection(
        method="adapter", adapter_form=form, adapter_parts=["attention", "mlp"], adapter_size=4
    )
    plain = logits_of(make(family), IDS)
    model = apply_tuning(make(family), tuning).eval()
    assert torch.equal(logits_of(model, IDS), plain)
    count = sum(part.numel() for part in trainable_parameters(model).values())
    assert count == 4 * (2 * D * 4 + 4 + D)
    push(model)
    assert (logits_of(model, IDS) - plain).abs().max() > 0.01
    model(input_ids=torch.tensor([IDS])).logits.sum().backward()
    assert all(part.grad is not None for part in trainable_parameters(model).values())
