"""Every tuning method: what moves, how much of it, and that it comes back from the disk.

The tiny Llama has D = 32, inner width 48, L = 2 layers, 2 key heads of width 8, so keys and values
are 16 wide; a vocabulary of 360.
"""

import pytest
import torch

from danlu.config.recipe import TuningSection
from danlu.models.adapters import has_adapter, unwrapped, without_adapter
from danlu.models.fused import fuse_layers
from danlu.models.load import load_for_tuning, load_model, load_tokenizer
from danlu.models.save import save_model
from danlu.models.tokens import add_tokens
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.models.tuning_continue import continued
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import logits_of, tiny_llama

D, INNER, LAYERS, KV, N = 32, 48, 2, 16, 3
LINEAR = 2 * (D + D) + 2 * (D + KV) + 3 * (D + INNER)
"""Inputs and outputs of a layer's linear parts: q, o; k, v; gate, up, down."""


def adapter(size, places):
    return places * (2 * D * size + size + D)


# Settings, trained parameters by formula, and whether it can be merged.
METHODS = {
    "lora": ({"lora_rank": 4}, LAYERS * 4 * LINEAR, True),
    "dora": (
        {"lora_rank": 4, "lora_options": {"use_dora": True}},
        LAYERS * (4 * LINEAR + 2 * D + 2 * KV + 2 * INNER + D),
        True,
    ),
    "patterns": (
        {
            "lora_rank": 4,
            "lora_targets": ["q_proj", "down_proj"],
            "lora_options": {"rank_pattern": {"q_proj": 1}, "alpha_pattern": {"q_proj": 3}},
        },
        LAYERS * (1 * (D + D) + 4 * (D + INNER)),
        True,
    ),
    "ia3": ({"method": "ia3"}, LAYERS * (KV + KV + INNER), True),
    "ia3-chosen": (
        {"method": "ia3", "ia3_targets": ["q_proj", "up_proj"], "layers": [-1]},
        D + D,
        True,
    ),
    "serial": ({"method": "adapter", "adapter_size": 5}, adapter(5, LAYERS), False),
    "serial-both": (
        {"method": "adapter", "adapter_parts": ["attention", "mlp"], "adapter_size": 5},
        adapter(5, 2 * LAYERS),
        False,
    ),
    "parallel": (
        {
            "method": "adapter",
            "adapter_form": "parallel",
            "adapter_parts": ["attention", "mlp"],
            "adapter_activation": "gelu",
            "adapter_scale": 4.0,
            "adapter_size": 5,
            "layers": [0],
        },
        adapter(5, 2),
        False,
    ),
    "prefix": ({"method": "prefix", "virtual_tokens": N}, N * 2 * LAYERS * KV, False),
    "prefix-mlp": (
        {"method": "prefix", "virtual_tokens": N, "encoder": "mlp", "encoder_size": 8},
        N * KV + (KV * 8 + 8) + (8 * 2 * LAYERS * KV + 2 * LAYERS * KV),
        False,
    ),
    "prompt": ({"method": "prompt", "virtual_tokens": N}, N * D, False),
    "prompt-text": (
        {"method": "prompt", "virtual_tokens": N, "init_text": "the furnace is hot"},
        N * D,
        False,
    ),
    "ptuning": (
        {"method": "ptuning", "virtual_tokens": N, "encoder_size": 8},
        N * D + (D * 8 + 8) + (8 * 8 + 8) + (8 * D + D),
        False,
    ),
    # Two layers, both directions, four gates of weights on inputs and state and two biases each.
    "ptuning-lstm": (
        {"method": "ptuning", "virtual_tokens": N, "encoder": "lstm", "encoder_size": 8},
        N * D
        + 2 * 4 * (8 * D + 8 * 8 + 2 * 8)
        + 2 * 4 * (8 * 16 + 8 * 8 + 2 * 8)
        + (16 * 16 + 16)
        + (16 * D + D),
        False,
    ),
}
NEW = ["<think>", "</think>"]


@pytest.fixture(params=METHODS)
def method(request):
    settings, count, merges = METHODS[request.param]
    return TuningSection(**settings), count, merges


def base_at(folder, tokenizer, tied=True):
    tiny_llama(tie_word_embeddings=tied).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tuned(base, tuning, new=()):
    """A model ready to be trained, and its tokenizer."""
    tokenizer = load_tokenizer(base)
    ids = add_tokens(tokenizer, new)
    torch.manual_seed(3)
    model = load_for_tuning(base, tuning)
    return apply_tuning(model, tuning, new_token_ids=ids, tokenizer=tokenizer), tokenizer


def trained(model, last_token, steps=3):
    """Take optimizer steps with weight decay; return the names of what is not bitwise the same."""
    before = {name: part.detach().clone() for name, part in model.named_parameters()}
    ids = torch.tensor([[5, 17, last_token, 300, 8, 359, 42]])
    optimizer = torch.optim.AdamW(trainable_parameters(model).values(), lr=1e-2, weight_decay=0.1)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    model.eval()
    return {name for name, part in model.named_parameters() if not torch.equal(part, before[name])}


def shapes(model):
    return {name: tuple(part.shape) for name, part in trainable_parameters(model).items()}


@pytest.mark.parametrize(
    ("tied", "new"),
    [(True, ()), (True, NEW), (False, NEW)],
    ids=["tied", "tied-new-tokens", "untied-new-tokens"],
)
def test_the_right_number_moves_and_nothing_else(tmp_path, tiny_tokenizer, method, tied, new):
    tuning, count, _ = method
    model, tokenizer = tuned(base_at(tmp_path / "base", tiny_tokenizer, tied), tuning, new)
    rows = len(new) * D * (1 if tied else 2)
    assert sum(part.numel() for part in trainable_parameters(model).values()) == count + rows
    assert trained(model, tokenizer.vocab_size - 1) == set(trainable_parameters(model))


@pytest.mark.parametrize(
    ("tied", "new"),
    [(False, ()), (True, NEW), (False, NEW)],
    ids=["untied", "tied-new-tokens", "untied-new-tokens"],
)
def test_saved_and_loaded_it_says_the_same(tmp_path, tiny_tokenizer, method, tied, new):
    """To talk to: merged where that can be done. To go on: apart, with the same parameters."""
    tuning, _, merges = method
    model, tokenizer = tuned(base_at(tmp_path / "base", tiny_tokenizer, tied), tuning, new)
    trained(model, 360 if new else 42)
    ids = (5, 17, 361 if new else 42, 300, 360 if new else 8)
    expected = logits_of(model, ids)
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path / "run")
    loaded = load_model(folder)
    assert has_adapter(loaded) is not merges
    torch.testing.assert_close(logits_of(loaded, ids), expected, atol=2e-5, rtol=1e-5)

    goes_on = continued(TuningSection(start="continue", method=tuning.method), folder)
    again = apply_tuning(load_for_tuning(folder, goes_on), goes_on)
    assert torch.equal(logits_of(again, ids), expected)
    assert shapes(again) == shapes(model)
    for name, part in trainable_parameters(again).items():
        assert torch.equal(part, trainable_parameters(model)[name])
    assert trained(again, 42) <= set(trainable_parameters(again))
    assert unwrapped(again).name_or_path == str(tmp_path / "base")


def test_it_starts_from_the_model_as_it_was_and_can_be_switched_off(
    tmp_path, tiny_tokenizer, method
):
    tuning, _, _ = method
    base = base_at(tmp_path / "base", tiny_tokenizer)
    expected = logits_of(load_model(base))
    model, _ = tuned(base, tuning, NEW)
    if tuning.method not in ("prefix", "prompt", "ptuning"):
        torch.testing.assert_close(logits_of(model)[..., :360], expected, atol=1e-5, rtol=1e-5)
    trained(model, 42)
    after = logits_of(model)
    assert (after[..., :360] - expected).abs().max() > 0.01
    moving = set(trainable_parameters(model))
    with without_adapter(model):
        torch.testing.assert_close(logits_of(model)[..., :360], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(logits_of(model), after)
    assert set(trainable_parameters(model)) == moving


def test_a_model_without_an_adapter_has_none_to_switch_off():
    with pytest.raises(ValueError, match="no adapter"), without_adapter(tiny_llama()):
        pass


def test_fused_layers_compute_the_same(tmp_path, tiny_tokenizer, method):
    """Both ways through, in training mode, with gradients."""
    tuning, _, _ = method
    model, _ = tuned(base_at(tmp_path / "base", tiny_tokenizer), tuning)
    trained(model, 42)
    ids = torch.tensor([[5, 17, 42, 300, 8, 359]])

    def outcome():
        model.zero_grad()
        model.train()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        return loss.detach(), {n: p.grad.clone() for n, p in trainable_parameters(model).items()}

    loss, gradients = outcome()
    assert sum(fuse_layers(model).values()) > 0
    fused_loss, fused_gradients = outcome()
    torch.testing.assert_close(fused_loss, loss, atol=1e-5, rtol=1e-5)
    for name, gradient in gradients.items():
        limit = 1e-4 * gradient.abs().max().item() + 1e-7
        torch.testing.assert_close(fused_gradients[name], gradient, atol=limit, rtol=1e-3)


def test_over_16_bit_weights_what_moves_is_float32(tmp_path, tiny_tokenizer, method):
    tuning, _, _ = method
    base = base_at(tmp_path / "base", tiny_tokenizer)
    tokenizer = load_tokenizer(base)
    ids = add_tokens(tokenizer, NEW)
    model = load_for_tuning(base, tuning, dtype=torch.bfloat16)
    model = apply_tuning(model, tuning, new_token_ids=ids, tokenizer=tokenizer)
    dtypes = {name: part.dtype for name, part in trainable_parameters(model).items()}
    assert set(dtypes.values()) == {torch.float32}
    assert trained(model, 360) == set(dtypes)
    assert torch.isfinite(logits_of(model)).all()
