"""Log-probabilities of the output head, each with a gradient of its own."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from danlu.models import head as heads
from danlu.models.head import OutputHead


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("chunk_rows", [16, 1000])
def test_gradients_are_those_of_log_softmax(moves, chunk_rows, monkeypatch):
    monkeypatch.setattr(heads, "_chunk_rows", lambda *_: chunk_rows)
    torch.manual_seed(0)
    module = nn.Linear(8, 30, bias=False, dtype=torch.float64)
    module.requires_grad_(moves)
    hidden = torch.randn(37, 8, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 30, (37,))
    weight = torch.randn(37, dtype=torch.float64)  # as the slope of an objective, either sign

    found = OutputHead(module).logprobs(hidden, target)
    ((found.sigmoid() * weight).sum()).backward()
    gradients = [hidden.grad.clone(), *([module.weight.grad.clone()] if moves else [])]
    hidden.grad = module.weight.grad = None

    expected = -functional.cross_entropy(module(hidden), target, reduction="none")
    ((expected.sigmoid() * weight).sum()).backward()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients[0], hidden.grad, rtol=1e-10, atol=1e-12)
    if moves:
        torch.testing.assert_close(gradients[1], module.weight.grad, rtol=1e-10, atol=1e-12)


def test_without_gradients_nothing_is_kept():
    module = nn.Linear(8, 30, bias=False)
    with torch.no_grad():
        logprobs = OutputHead(module).logprobs(torch.randn(5, 8), torch.zeros(5, dtype=torch.int64))
    assert not logprobs.requires_grad
    assert logprobs.shape == (5,)


def test_nothing_to_score():
    module = nn.Linear(8, 30, bias=False)
    hidden = torch.zeros(0, 8, requires_grad=True)
    logprobs = OutputHead(module).logprobs(hidden, torch.zeros(0, dtype=torch.int64))
    logprobs.sum().backward()
    assert logprobs.shape == (0,)
