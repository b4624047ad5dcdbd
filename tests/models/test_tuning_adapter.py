"""Bottleneck adapters against their formulas, and where they go."""

import json

import pytest
import torch
from torch.nn import functional

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError
from danlu.models.forest_support import use_forest_attention
from danlu.models.layers import decoder_layers
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.models.tuning_adapter import bottlenecks, save_bottlenecks
from tests.tiny_models import logits_of, tiny_llama


def tuned(**settings):
    model = apply_tuning(tiny_llama(), TuningSection(method="adapter", adapter_size=5, **settings))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("form", ["serial", "parallel"])
@pytest.mark.parametrize("part", ["attention", "mlp"])
def test_a_layer_computes_the_formula(form, part):
    """``h + s U relu(D z + d) + s u`` with z = h or the part's input, then the residual."""
    model = tuned(adapter_form=form, adapter_parts=part, adapter_scale=2.0)
    plain = tiny_llama()
    layer, plain_layer = decoder_layers(model)[1][0], decoder_layers(plain)[1][0]
    x = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(2))
    rotation = model.model.rotary_emb(x, torch.arange(4)[None])
    options = {"position_embeddings": rotation, "attention_mask": None}

    def adapter(z):
        own = bottlenecks(model)[0].adapter
        inner = functional.relu(z @ own.down.weight.T + own.down.bias)
        return 2.0 * (inner @ own.up.weight.T + own.up.bias)

    normed = plain_layer.input_layernorm(x)
    hidden = plain_layer.self_attn(normed, **options)[0]
    if part == "attention":
        hidden = hidden + adapter(hidden if form == "serial" else normed)
    residual = x + hidden
    normed = plain_layer.post_attention_layernorm(residual)
    hidden = plain_layer.mlp(normed)
    if part == "mlp":
        hidden = hidden + adapter(hidden if form == "serial" else normed)
    torch.testing.assert_close(layer(x, **options), residual + hidden)


def test_it_starts_as_nothing_to_the_bit():
    model = apply_tuning(tiny_llama(), TuningSection(method="adapter"))
    assert torch.equal(logits_of(model), logits_of(tiny_llama()))


def test_it_runs_in_a_forest():
    """What is asked there is that rows and a forest give the same states."""
    for form in ("serial", "parallel"):
        model = tuned(adapter_form=form, adapter_parts=["attention", "mlp"])
        assert use_forest_attention(model) is None


def test_the_saved_folder_says_what_it_is(tmp_path):
    model = tuned(layers=[-1])
    model.name_or_path = "some/base"
    save_bottlenecks(model, tmp_path)
    about = json.loads((tmp_path / "adapter_config.json").read_text())
    assert about == {
        "adapter_type": "bottleneck",
        "base_model_name_or_path": "some/base",
        "form": "serial",
        "parts": ["mlp"],
        "size": 5,
        "activation": "relu",
        "scale": 1.0,
        "layers": [1],
    }


def test_a_layer_whose_mlp_is_not_one_module_is_told():
    from transformers import OPTConfig, OPTForCausalLM

    size = {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = OPTForCausalLM(OPTConfig(**size, vocab_size=60, word_embed_proj_dim=32))
    with pytest.raises(RecipeError, match=r"has 2 \(fc1, fc2\)") as caught:
        apply_tuning(model, TuningSection(method="adapter"))
    assert caught.value.where == "tuning.adapter_parts"
    attention = TuningSection(method="adapter", adapter_parts="attention")
    assert len(bottlenecks(apply_tuning(model, attention))) == 2
