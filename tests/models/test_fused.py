"""Fused layers compute what PEFT's and torch's own do, and step aside where they cannot."""

import pytest
import torch
from torch import nn

from danlu.config.recipe import TuningSection
from danlu.models.fused import fuse_layers
from danlu.models.products import product
from danlu.models.tuning import apply_tuning
from tests.tiny_models import tiny_llama

IDS = torch.arange(3, 3 + 40)[None]


def tuned(**options):
    model = apply_tuning(tiny_llama(), TuningSection(method="lora", lora_rank=4, **options))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # starts at zero, which would hide a fault
            nn.init.normal_(parameter, std=0.1)
    return model.train()


def loss_and_gradients(model):
    model.zero_grad()
    torch.manual_seed(2)
    loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def assert_same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = gradient.abs().max().item()
        assert (found[1][name] - gradient).abs().max().item() <= 1e-4 * scale, name


@pytest.mark.parametrize(
    ("options", "fused"),
    [
        ({}, 14),
        ({"lora_alpha": 7}, 14),
        ({"lora_dropout": 0.3}, 0),
        ({"lora_options": {"use_dora": True}}, 0),
        ({"lora_options": {"use_rslora": True}}, 14),
    ],
)
def test_lora_loss_and_gradients_are_pefts(options, fused):
    model = tuned(**options)
    expected = loss_and_gradients(model)
    assert fuse_layers(model) == fused
    assert_same(loss_and_gradients(model), expected)


def test_full_tuning_keeps_loss_and_gradients():
    model = tiny_llama().train()
    expected = loss_and_gradients(model)
    assert fuse_layers(model) == 0
    assert_same(loss_and_gradients(model), expected)


def test_switching_the_adapter_off_and_merging_still_work():
    plain = tiny_llama()
    model = tuned().eval()
    fuse_layers(model)
    with torch.no_grad():
        adapted = model(input_ids=IDS).logits
        with model.disable_adapter():
            torch.testing.assert_close(model(input_ids=IDS).logits, plain(input_ids=IDS).logits)
        assert not torch.allclose(adapted, plain(input_ids=IDS).logits, atol=1e-3)
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=IDS).logits, adapted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 31, 32, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_product_is_the_matrix_product(rows, dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(rows, 48, dtype=dtype), torch.randn(20, 48, dtype=dtype)
    expected = x.double() @ weight.double().T
    torch.testing.assert_close(product(x, weight).double(), expected, atol=2e-5, rtol=1e-5)
    g = torch.randn(rows, 20, dtype=dtype)
    expected = g.double() @ weight.double()
    torch.testing.assert_close(product(g, weight.T).double(), expected, atol=2e-5, rtol=1e-5)
    expected = g.double().T @ x.double()
    torch.testing.assert_close(product(g.T, x.T).double(), expected, atol=5e-5, rtol=1e-5)
