"""LoRA over a quantised base. Needs bitsandbytes (the extra qlora), which runs on the CPU too."""

import importlib.util
import json
import logging

import pytest
import torch

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError, RecipeError
from danlu.models import tuning_qlora
from danlu.models.adapters import without_adapter
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.load import load_for_tuning, load_model, load_tokenizer
from danlu.models.save import save_model
from danlu.models.tokens import add_tokens
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.models.tuning_continue import continued
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import logits_of, tiny_llama

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="bitsandbytes is not installed: pip install 'danlu[qlora]'",
)
KINDS = ["nf4", "int8"]
NEW = ["<think>", "</think>"]
LINEAR = 2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128)


@pytest.fixture
def base(tmp_path, tiny_tokenizer):
    """Wide enough for bitsandbytes' blocks of 64."""
    tiny_llama(hidden_size=64, intermediate_size=128).save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def tuned(base, kind, new=(), **options):
    tuning = TuningSection(method="qlora", quantisation=kind, lora_rank=4)
    tokenizer = load_tokenizer(base)
    ids = add_tokens(tokenizer, new)
    torch.manual_seed(0)
    model = load_for_tuning(base, tuning, **options)
    return apply_tuning(model, tuning, new_token_ids=ids), tokenizer


def trained(model):
    """Three steps; return the names of what moved, quantised weights and constants included."""
    before = {name: part.clone() for name, part in model.state_dict().items()}
    ids = torch.tensor([[5, 17, 42, 300, 8, 359]])
    optimizer = torch.optim.AdamW(trainable_parameters(model).values(), lr=1e-2)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    model.eval()
    after = model.state_dict()
    return {name for name, part in before.items() if not torch.equal(part, after[name])}


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_adapters_move(base, kind):
    model, _ = tuned(base, kind)
    parameters = trainable_parameters(model)
    assert sum(part.numel() for part in parameters.values()) == 2 * 4 * LINEAR
    logits_of(model)  # an evaluation before training must not switch the gradients off
    moved = trained(model)
    assert moved == set(parameters)


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_over_the_dequantised_weights(base, kind):
    """The reference: plain linear layers with the same numbers, and the same adapter."""
    model, _ = tuned(base, kind)
    torch.manual_seed(1)
    with torch.no_grad():
        for part in trainable_parameters(model).values():
            part += 0.1 * torch.randn_like(part)
    quantised = load_for_tuning(base, TuningSection(method="qlora", quantisation=kind))
    plain = tuning_qlora.dequantised(quantised)
    assert type(plain.model.layers[0].mlp.up_proj) is torch.nn.Linear
    plain = apply_tuning(plain, TuningSection(lora_rank=4))
    plain.load_state_dict(
        {name: part for name, part in model.state_dict().items() if "lora_" in name}, strict=False
    )
    ids = torch.tensor([[5, 17, 42, 300, 8, 359]])
    losses = [one(input_ids=ids, labels=ids).loss for one in (model.train(), plain.train())]
    torch.testing.assert_close(*losses, atol=1e-4, rtol=1e-4)
    for loss in losses:
        loss.backward()
    expected = trainable_parameters(plain)
    for name, part in trainable_parameters(model).items():
        limit = 1e-3 * expected[name].grad.abs().max().item()
        torch.testing.assert_close(part.grad, expected[name].grad, atol=limit, rtol=1e-2)


@needs_bitsandbytes
@pytest.mark.parametrize(
    ("kind", "share"),
    # int8's product rounds activations too, which a merged layer does not.
    [("nf4", 1e-5), ("int8", 0.05)],
)
@pytest.mark.parametrize("new", [(), NEW], ids=["", "new"])
def test_saved_and_loaded_it_says_the_same(tmp_path, base, kind, share, new):
    model, tokenizer = tuned(base, kind, new)
    trained(model)
    ids = (5, 17, 361 if new else 42, 300, 8)
    expected = logits_of(model, ids)
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path / "run")
    assert json.loads((folder / "quantisation.json").read_text()) == {"quantisation": kind}
    loaded = load_model(folder)
    assert type(loaded.model.layers[0].mlp.up_proj) is torch.nn.Linear
    limit = share * expected.abs().max().item()
    torch.testing.assert_close(logits_of(loaded, ids), expected, atol=limit, rtol=1e-5)

    tuning = continued(TuningSection(method="qlora", start="continue"), folder)
    assert (tuning.quantisation, tuning.lora_rank) == (kind, 4)
    again = apply_tuning(load_for_tuning(folder, tuning), tuning)
    assert torch.equal(logits_of(again, ids), expected)
    assert set(trainable_parameters(again)) == set(trainable_parameters(model))
    other = TuningSection(
        method="qlora", start="continue", quantisation="int8" if kind == "nf4" else "nf4"
    )
    with pytest.raises(RecipeError, match="quantisation"):
        continued(other, folder)


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_as_a_forest_fused_and_switched_off(base, kind):
    quantised = load_for_tuning(base, TuningSection(method="qlora", quantisation=kind))
    if kind == "nf4":
        assert use_forest_attention(quantised) is None
        quantised.set_attn_implementation("sdpa")
    expected = logits_of(quantised)
    model, _ = tuned(base, kind)
    trained(model)
    tuned_logits = logits_of(model)
    with without_adapter(model):
        assert torch.equal(logits_of(model), expected)
    assert torch.equal(logits_of(model), tuned_logits)
    fuse_layers(model)
    torch.testing.assert_close(logits_of(model), tuned_logits, atol=1e-4, rtol=1e-4)


@needs_bitsandbytes
def test_it_is_quiet(base, caplog):
    logging.getLogger("bitsandbytes").setLevel(logging.NOTSET)
    model, _ = tuned(base, "int8", dtype=torch.bfloat16)
    trained(model)
    assert not caplog.records


@needs_bitsandbytes
def test_quantised_weights_are_read_and_not_made_from_a_merged_adapter(tmp_path, base):
    model, tokenizer = tuned(base, "nf4")
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path / "run")
    with pytest.raises(ModelError, match="danlu export"):
        load_for_tuning(folder, TuningSection(method="qlora"))


def test_without_bitsandbytes_the_remedy_is_told(base, monkeypatch):
    monkeypatch.setattr(tuning_qlora.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'danlu\[qlora\]'") as caught:
        load_for_tuning(base, TuningSection(method="qlora"))
    assert caught.value.where == "tuning.method"


def test_a_plain_model_is_no_ground_for_qlora():
    with pytest.raises(RecipeError, match="not: read it with load_for_tuning"):
        apply_tuning(tiny_llama(), TuningSection(method="qlora"))
