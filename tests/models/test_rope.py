"""Scaled positions: frequencies by hand, forest as rows, and kept by all that is saved."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM

from danlu.config import load_recipe
from danlu.config.recipe import Recipe, RopeSection
from danlu.errors import ModelError, RecipeError
from danlu.generation import Sampling
from danlu.models.forest_support import ordinary_attention, use_forest_attention
from danlu.models.load import load_config, load_for_tuning, load_model
from danlu.models.rope import context_length, length_notes, scale_positions, scaled_as
from danlu.objectives import Nll
from danlu.sequences.forest import build_packs, build_rows
from danlu.serving.chat import load
from danlu.serving.export import export
from danlu.training.run import train
from danlu.training.scoring import ScoringModel
from tests.models.test_forest_equality import SIZES, branch
from tests.objectives.test_over_forest import assert_same, result
from tests.tiny_models import logits_of, tiny_llama
from tests.training.conftest import tiny_folder, tiny_recipe  # noqa: F401 (fixtures)

BASE, LENGTH = 10000.0, 256
PLAIN = [BASE ** (-2 * i / 8) for i in range(4)]
"""Heads of 32 / 4 = 8 dimensions: four pairs, 1, 0.1, 0.01 and 0.001 radians per token."""


def scaled(**rope):
    """A tiny Llama's config with scaled positions."""
    config = LlamaConfig(**SIZES)
    scale_positions(config, RopeSection(**rope))
    return config


def frequencies(config):
    rotary = LlamaForCausalLM(config).model.rotary_emb
    return rotary.inv_freq.tolist(), rotary.attention_scaling


def test_linear_by_hand():
    config = scaled(type="linear", factor=4)
    assert frequencies(config) == (pytest.approx([w / 4 for w in PLAIN]), 1.0)
    assert context_length(config) == 4 * LENGTH


def test_ntk_by_hand():
    """At d = 8 the base grows by 4^(8/6): the last pair, base^(-6/8), turns exactly 1/4 as fast."""
    config = scaled(type="ntk", factor=4)
    base = BASE * 4 ** (8 / 6)
    assert config.rope_parameters["rope_theta"] == pytest.approx(base)
    found, scaling = frequencies(config)
    assert (found, scaling) == (pytest.approx([base ** (-2 * i / 8) for i in range(4)]), 1.0)
    assert (found[0], found[3]) == (1.0, pytest.approx(PLAIN[3] / 4))
    assert context_length(config) == 4 * LENGTH


def test_a_base_by_hand():
    config = scaled(base=500000)
    assert frequencies(config) == (pytest.approx([500000 ** (-2 * i / 8) for i in range(4)]), 1.0)
    assert context_length(config) == LENGTH
    assert context_length(scaled(base=500000, factor=8)) == 8 * LENGTH


def test_linear_over_another_base():
    found, _ = frequencies(scaled(type="linear", factor=2, base=500000))
    assert found == pytest.approx([500000 ** (-2 * i / 8) / 2 for i in range(4)])


def test_yarn_by_hand():
    """Pair i turns 256 w_i / 2 pi times within the length: 40.7, 4.07, 0.407 and 0.0407.

    At most beta_fast = 32 turns for pair 0.105 (rounded down to 0), at least beta_slow = 1 for pair
    1.61 (up to 2): pair 0 stays, pairs 2 and 3 are divided, and pair 1 lies half way. Queries and
    keys grow by 0.1 ln 4 + 1 in all, so by that factor in cosines and sines.
    """
    config = scaled(type="yarn", factor=4)
    half = (PLAIN[1] + PLAIN[1] / 4) / 2
    found, scaling = frequencies(config)
    assert found == pytest.approx([PLAIN[0], half, PLAIN[2] / 4, PLAIN[3] / 4])
    assert scaling == pytest.approx(0.1 * math.log(4) + 1)
    assert context_length(config) == 4 * LENGTH
    assert config.max_position_embeddings == LENGTH
    narrow = scaled(type="yarn", factor=4, beta_fast=4, beta_slow=0.3, attention_factor=1.5)
    # 4 turns: pair 1.008, down to 1; 0.3 turns: pair 2.13, up to 3; so pair 2 is half way.
    half = (PLAIN[2] + PLAIN[2] / 4) / 2
    assert frequencies(narrow) == (
        pytest.approx([PLAIN[0], PLAIN[1], half, PLAIN[3] / 4]),
        pytest.approx(1.5),
    )


def test_dynamic_by_hand():
    """Within the model's length nothing changes; at 512 tokens the factor is 4 * 2 - 3 = 5."""
    config = scaled(type="dynamic", factor=4)
    rotary = LlamaForCausalLM(config).model.rotary_emb
    x = torch.zeros(1)
    rotary(x, torch.arange(LENGTH)[None])
    assert rotary.inv_freq.tolist() == pytest.approx(PLAIN)
    rotary(x, torch.arange(2 * LENGTH)[None])
    base = BASE * 5 ** (8 / 6)
    assert rotary.inv_freq.tolist() == pytest.approx([base ** (-2 * i / 8) for i in range(4)])
    assert context_length(config) == 4 * LENGTH


@pytest.mark.parametrize("rope", [{"type": "yarn", "factor": 4}, {"type": "ntk", "factor": 4}])
def test_beyond_the_models_length_a_forest_equals_rows(rope):
    """Two branches that part after 240 tokens and end at 300, in float64."""
    torch.manual_seed(0)
    config = scaled(**rope)
    config.initializer_range = 0.3  # wide, so that positions matter
    model = LlamaForCausalLM(config).double()
    assert use_forest_attention(model) is None
    rng = np.random.default_rng(0)
    stem = rng.integers(0, SIZES["vocab_size"], 240).tolist()
    own = [branch(stem + rng.integers(0, SIZES["vocab_size"], 60).tolist(), 240) for _ in range(2)]
    scoring = ScoringModel(model, Nll(), 1)
    forest = result(scoring, own, build_packs(own, 10_000))
    with ordinary_attention(model):
        rows = result(scoring, own, build_rows(own, 1))
    assert_same(forest, rows, 1e-6)  # transformers' norms and rotary positions are float32
    plain = ScoringModel(LlamaForCausalLM(LlamaConfig(**SIZES)).double(), Nll(), 1)
    plain.load_state_dict(scoring.state_dict())
    assert use_forest_attention(plain.model) is None
    assert abs(result(plain, own, build_packs(own, 10_000))[0] - rows[0]) > 1e-3


SCALED = {"type": "yarn", "factor": 4.0}
TOKENS = tuple(np.random.default_rng(1).integers(3, 350, 300).tolist())
"""Longer than the model's 256."""


@pytest.mark.parametrize("tuning", [{"method": "full"}, {"method": "lora", "lora_rank": 4}])
def test_a_run_keeps_its_positions(tiny_recipe, tiny_folder, tmp_path, tuning):  # noqa: F811
    """Chat, export and the next run compute with them, and nothing names them again."""
    sections = {"tuning": tuning, "sequences": {"max_length": 1024}}
    recipe = tiny_recipe(
        "long",
        **sections,
        model={"rope": SCALED},
        samples={"prompts": ["Say iron"], "max_new_tokens": 4},
    )
    run = train(recipe, progress=False)
    model = load_model(run.path)
    assert scaled_as(model.config) == SCALED
    assert model.config.rope_parameters["rope_type"] == "yarn"
    assert context_length(load_config(run.path)) == 4 * LENGTH
    chat = load(run.path, sampling=Sampling(max_new_tokens=4, greedy=True))
    assert chat.generator.context_tokens == 4 * LENGTH
    exported = export(run.path, tmp_path / "whole", merge=tuning["method"] == "lora").path
    assert json.loads((exported / "config.json").read_text())["rope_parameters"]["factor"] == 4
    plain = LlamaForCausalLM.from_pretrained(exported)
    torch.testing.assert_close(
        logits_of(plain, TOKENS), logits_of(model, TOKENS), rtol=1e-4, atol=1e-4
    )
    unscaled = LlamaForCausalLM(LlamaConfig.from_pretrained(tiny_folder))
    unscaled.load_state_dict(model.state_dict())
    assert (logits_of(unscaled, TOKENS) - logits_of(model, TOKENS)).abs().max() > 0.1

    starts = [{}, {"start": "continue"}] if tuning["method"] == "lora" else [{}]
    for start in starts:
        more = train(
            tiny_recipe(
                f"more-{len(start)}",
                **{**sections, "tuning": {"method": tuning["method"], **start}},
                # Named again or not, they are not scaled twice.
                model={"path": str(run.path), **({} if start else {"rope": SCALED})},
            ),
            progress=False,
        )
        again = load_model(more.path)
        assert scaled_as(again.config) == SCALED
        assert again.model.rotary_emb.inv_freq.tolist() == model.model.rotary_emb.inv_freq.tolist()


def test_an_adapter_goes_with_no_other_positions(tiny_recipe):  # noqa: F811
    run = train(
        tiny_recipe(tuning={"method": "lora"}, model={"rope": SCALED}, training={"max_steps": 1}),
        progress=False,
    )
    with pytest.raises(ModelError, match=r"trained with positions scaled otherwise \(type yarn"):
        load_model(run.path, rope=RopeSection(type="linear", factor=2))
    recipe = tiny_recipe(tuning={"method": "lora"})
    for start in ("new", "continue"):
        tuning = recipe.tuning.model_copy(update={"start": start})
        tuned = load_for_tuning(run.path, tuning, rope=RopeSection())
        assert scaled_as(tuned.config) == SCALED


def test_scaling_twice_is_refused():
    config = scaled(type="linear", factor=2)
    scale_positions(config, RopeSection(type="linear", factor=2))
    assert config.rope_parameters["factor"] == 2
    with pytest.raises(ModelError, match=r"scaled already \(type linear, factor 2.0\)"):
        scale_positions(config, RopeSection(type="yarn", factor=2))
    theirs = LlamaConfig(
        **SIZES, rope_parameters={"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4}
    )
    with pytest.raises(ModelError, match=r"scaled already \(rope_type linear, factor 8.0\)"):
        scale_positions(theirs, RopeSection(type="yarn", factor=2))


def test_a_model_without_rotary_positions_is_refused(tiny_tokenizer, tmp_path):
    config = GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=360)
    config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"model\.rope: gpt2 models have no rotary positions"):
        load_config(tmp_path, rope=RopeSection(**SCALED))
    assert load_config(tmp_path, rope=RopeSection()).n_embd == 8


def test_layers_with_positions_of_their_own_are_refused():
    from transformers import Gemma3TextConfig

    config = Gemma3TextConfig(num_hidden_layers=6)
    with pytest.raises(ModelError, match="different positions in different layers"):
        scale_positions(config, RopeSection(**SCALED))


def test_sequences_beyond_the_models_length_are_told(tiny_recipe, capsys):  # noqa: F811
    train(tiny_recipe(sequences={"max_length": 1000}, training={"max_steps": 1}), progress=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "max_length is 1,000, and the model takes 256 tokens" in told
    assert "set model.rope (type yarn, factor 4), or lower it" in told
    assert length_notes(LlamaConfig(**SIZES), 256) == []
    assert length_notes(scaled(**SCALED), 1024) == []
    assert "lower it" in length_notes(scaled(**SCALED), 1025)[0]
    assert length_notes(GPT2Config(n_positions=64), 65)[0].endswith("; lower it")


def test_dynamic_scaling_is_not_trained_beyond_the_models_length(tiny_recipe):  # noqa: F811
    """Its frequencies follow the longest sequence at hand: a loss would depend on the pack."""
    rope = {"type": "dynamic", "factor": 2}
    recipe = tiny_recipe(model={"rope": rope}, sequences={"max_length": 257})
    with pytest.raises(RecipeError, match=r"loss would depend on its neighbours. Train with ntk"):
        train(recipe, progress=False)
    fits = tiny_recipe("fits", model={"rope": rope}, sequences={"max_length": 256})
    run = train(fits.model_copy(update={"name": "fits"}), progress=False)
    assert scaled_as(load_model(run.path).config) == {"type": "dynamic", "factor": 2.0}


def test_lengths_that_other_models_tell():
    theirs = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    config = LlamaConfig(
        **{**SIZES, "max_position_embeddings": 32768},
        rope_parameters={**theirs, "rope_theta": 1e6},
    )
    assert context_length(config) == 131072
    assert context_length(tiny_llama().config) == LENGTH


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"type": "yarn"}, "type yarn needs factor"),
        ({"factor": 2}, "factor alone changes nothing"),
        ({"type": "ntk", "factor": 2, "base": 5e5}, "ntk works out the base by itself"),
        ({"type": "linear", "factor": 2, "beta_fast": 8}, "beta_fast does nothing without type y"),
        ({"type": "yarn", "factor": 2, "beta_slow": 40}, "beta_fast must be greater"),
        ({"type": "yarn", "factor": 1}, "greater than 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(rope, message):
    with pytest.raises(ValueError, match=message):
        Recipe(name="x", model={"rope": rope})


def test_positions_on_the_command_line():
    recipe = load_recipe("sft-lora", ["model.rope.type=yarn", "model.rope.factor=2"])
    assert recipe.model.rope.given() == {"type": "yarn", "factor": 2.0}
    with pytest.raises(RecipeError, match=r"model\.rope\.typ.*Did you mean 'type'"):
        load_recipe("sft-lora", ["model.rope.typ=yarn"])
