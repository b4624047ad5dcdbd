"""The chunked head against torch's own cross-entropy over whole logits."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from danlu.models import head as head_module
from danlu.models.gradients import gradients_handed_over, gradients_in_place
from danlu.models.head import OutputHead

WIDTH, VOCABULARY, PREDICTIONS = 6, 11, 9


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Four predictions at a time, so that the last chunk is a part of one."""
    monkeypatch.setattr(head_module, "_chunk_rows", lambda *_: 4)


def parts(bias=False, dtype=torch.float64):
    torch.manual_seed(0)
    module = nn.Linear(WIDTH, VOCABULARY, bias=bias).to(dtype)
    hidden = torch.randn(PREDICTIONS, WIDTH, dtype=dtype, requires_grad=True)
    target = torch.randint(0, VOCABULARY, (PREDICTIONS,))
    weight = torch.rand(PREDICTIONS, dtype=torch.float32)
    return module, hidden, target, weight


def reference(head, hidden, target, weight):
    logits = hidden @ head.module.weight.T
    if head.module.bias is not None:
        logits = logits + head.module.bias
    logits = logits * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    nll = functional.cross_entropy(logits, target, reduction="none")
    return (nll * weight).sum(), nll


@pytest.mark.parametrize(
    ("bias", "softcap", "scale"),
    [(False, None, 1.0), (True, None, 1.0), (False, 2.0, 1.0), (False, None, 0.25)],
)
def test_equals_cross_entropy_over_whole_logits(bias, softcap, scale):
    module, hidden, target, weight = parts(bias)
    head = OutputHead(module, softcap, scale)
    assert head.is_plain is (not bias and softcap is None and scale == 1.0)
    inputs = (hidden, *module.parameters())
    expected, expected_nll = reference(head, hidden, target, weight)
    expected_grads = torch.autograd.grad(expected * 0.5, inputs)
    found, nll = head.weighted_nll(hidden, target, weight)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(nll, expected_nll)
    for one, other in zip(torch.autograd.grad(found * 0.5, inputs), expected_grads, strict=True):
        torch.testing.assert_close(one, other)


def test_logprobs_are_differentiable_one_by_one():
    module, hidden, target, _ = parts()
    upstream = torch.randn(PREDICTIONS, dtype=torch.float64)
    found = OutputHead(module).logprobs(hidden, target)
    expected = functional.log_softmax(module(hidden), -1).gather(1, target[:, None]).squeeze(1)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, (hidden, module.weight), upstream),
        torch.autograd.grad(expected, (hidden, module.weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("frozen", ["hidden", "weight", "both"])
def test_what_is_frozen_gets_no_gradient_and_changes_no_loss(frozen):
    module, hidden, target, weight = parts()
    module.weight.requires_grad_(frozen == "hidden")
    hidden.requires_grad_(frozen == "weight")
    found, nll = OutputHead(module).weighted_nll(hidden, target, weight)
    expected, expected_nll = reference(OutputHead(module), hidden, target, weight)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(nll, expected_nll)
    if frozen != "both":
        found.backward()
    assert (hidden.grad is not None) is (frozen == "weight")
    assert (module.weight.grad is not None) is (frozen == "hidden")


def test_large_logits_do_not_overflow():
    module, hidden, target, weight = parts(dtype=torch.float32)
    with torch.no_grad():
        module.weight.mul_(1e4)
    found, nll = OutputHead(module).weighted_nll(hidden, target, weight)
    assert torch.isfinite(found)
    assert torch.isfinite(nll).all()


def test_no_predictions_are_zero():
    module, hidden, target, weight = parts()
    found, nll = OutputHead(module).weighted_nll(hidden[:0], target[:0], weight[:0])
    assert (found.item(), len(nll)) == (0.0, 0)
    assert len(OutputHead(module).logprobs(hidden[:0], target[:0])) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_chunks_add_up_in_place(dtype):
    """The matrix's gradient in its number format, scaled by what comes from above, once."""
    layer, hidden, target, weight = parts(dtype=dtype)
    nats, _ = OutputHead(layer, None, 1.0).weighted_nll(hidden, target, weight)
    (nats * 0.25).backward()
    wide = layer.weight.detach().double().requires_grad_()
    logits = hidden.detach().double() @ wide.T
    nll = functional.cross_entropy(logits, target, reduction="none")
    ((nll * weight).sum() * 0.25).backward()
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(
        layer.weight.grad.double(), wide.grad, atol=tolerance, rtol=tolerance
    )
    with pytest.raises(RuntimeError, match="once"):
        nats.backward()


def test_a_block_is_given_out_once_and_only_in_its_form():
    reserve = head_module.Reserve()
    block = torch.ones(2, 3)
    reserve.keep("gradient", block)
    assert reserve.take("logits", block.shape, block.dtype) is None
    assert reserve.take("gradient", block.shape, block.dtype) is block
    assert reserve.take("gradient", block.shape, block.dtype) is None
    reserve.keep("gradient", block)
    assert reserve.take("gradient", block.shape, torch.float64) is None


@pytest.mark.parametrize("rows", [2, 4])
def test_gradients_of_several_packs_add_up_though_their_blocks_are_used_again(rows, monkeypatch):
    """With 4 rows a chunk, all chunks are hardly larger than the matrix, and wait for backward."""
    monkeypatch.setattr(head_module, "_chunk_rows", lambda *_: rows)
    module, hidden, target, weight = parts(dtype=torch.float32)
    head = OutputHead(module)
    with gradients_in_place(module.parameters()):
        # Two packs at once, then one after the other.
        first, second = (head.weighted_nll(hidden, target, weight)[0] for _ in range(2))
        (first + 0.5 * second).backward()
        for _ in range(2):
            head.weighted_nll(hidden, target, weight)[0].backward()
        found = module.weight.grad.clone()
        assert ("gradient" in head.reserve) == (rows == 2)
        # Who asks for the gradient itself gets it, and nothing is added.
        nats, _ = head.weighted_nll(hidden, target, weight)
        with gradients_handed_over():
            [handed] = torch.autograd.grad(nats * 0.5, [module.weight])
        torch.testing.assert_close(module.weight.grad, found, rtol=0, atol=0)
    expected, _ = reference(head, hidden, target, weight)
    [once] = torch.autograd.grad(expected, [module.weight])
    torch.testing.assert_close(found, 3.5 * once)
    torch.testing.assert_close(handed, 0.5 * once)


@pytest.mark.parametrize("rows", [1, 4, 16])
def test_softmax_by_few_rows_at_a_time(rows, monkeypatch):
    monkeypatch.setattr(head_module, "_CACHED_ROWS", rows)
    torch.manual_seed(0)
    logits, factor = torch.randn(9, 5, dtype=torch.float64) * 30, torch.randn(9, 1).double()
    expected = logits.softmax(-1) * factor, logits.logsumexp(-1)
    sums = head_module._softmax_in_place(logits, factor)
    torch.testing.assert_close((logits, sums), expected)
