"""Attention as accelerators compute it: flex attention's mask, and the kernels themselves.

Flex attention runs on the CPU without being compiled, forward only; that is enough to hold its
block mask and its layout to the segments'. The kernels themselves need a CUDA device.
"""

import numpy as np
import pytest
import torch

from danlu.models import attention
from danlu.models.attention import ForestLayout, forest_attention
from danlu.models.forest_support import use_forest_attention
from danlu.objectives import Nll
from danlu.sequences.branch import Branch
from danlu.sequences.forest import build_packs
from danlu.training.scoring import ScoringModel
from tests.tiny_models import tiny_llama

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def branches(shared: int, lengths=(5, 9, 30)):
    rng = np.random.default_rng(0)
    prompt = rng.integers(3, 300, shared).tolist()
    found = []
    for i, length in enumerate(lengths):
        ids = prompt + rng.integers(3, 300, length).tolist()
        weights = np.ones(len(ids), np.float32)
        weights[: shared + 1] = 0
        found.append(Branch(np.array(ids, np.int32), weights, i, 0, 0, shared))
    return found


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("shared", [0, 12])
def test_flex_attention_sees_what_segments_see(monkeypatch, shared):
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(attention, "_compiled_flex", flex_attention)
    [pack] = build_packs(branches(shared), 1000)
    layout = ForestLayout(torch.from_numpy(pack.visible_until), torch.device("cpu"))
    assert layout.is_chains is (shared == 0)
    torch.manual_seed(0)
    query = torch.randn(1, 4, pack.tokens, 16)
    key, value = torch.randn(2, 1, 2, pack.tokens, 16)
    expected, _ = forest_attention(torch.nn.Module(), query, key, value, forest=layout)
    found = attention._flex_attention(query, key, value, layout, 0.25)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.fixture
def compiled_for(monkeypatch):
    """Flex attention as it is compiled, up to the kernels; gives the scales of what was made."""
    scales = []

    def backend(graph, inputs):
        [call] = [node for node in graph.graph.nodes if "flex_attention" in str(node.target)]
        scales.append(call.args[5])
        return graph.forward

    with torch._dynamo.config.patch(recompile_limit=1):
        monkeypatch.setattr(attention, "_compiled_flex", attention._compile_flex(backend))
        assert torch._dynamo.config.recompile_limit == attention.FLEX_KERNELS
        yield scales
    torch._dynamo.reset()


def test_flex_attention_is_compiled_for_kinds_of_packs_and_not_for_lengths(compiled_for):
    """The scale is a constant, as it is in the kernel; lengths are variables."""

    def attend(tokens: int) -> None:
        half, quarter = tokens // 2, tokens // 4
        until = [tokens] * half + [half + quarter] * quarter
        until += [tokens] * (tokens - len(until))
        layout = ForestLayout(torch.tensor(until), torch.device("cpu"))
        query = torch.randn(1, tokens, 4, 16).transpose(1, 2)
        key, value = torch.randn(2, 1, tokens, 2, 16).transpose(2, 3)
        attention._flex_attention(query, key, value, layout, 0.25)

    for tokens in (18, 5, 300, 700):
        attend(tokens)
    kinds = len(compiled_for)
    assert set(compiled_for) == {0.25}
    for tokens in (301, 384, 128, 1030):
        attend(tokens)
    assert len(compiled_for) == kinds <= 3


def test_bounds_of_chains_are_what_varlen_attention_takes():
    [pack] = build_packs(branches(0), 1000)
    layout = ForestLayout(torch.from_numpy(pack.visible_until), torch.device("cpu"))
    bounds = layout.cumulative_lengths
    assert bounds.dtype == torch.int32
    assert sorted((bounds[1:] - bounds[:-1]).tolist()) == [5, 9, 30]
    assert layout.longest == 30


@cuda
@pytest.mark.cuda
@pytest.mark.parametrize("shared", [0, 12])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_loss_and_gradients_on_cuda_equal_the_cpus(shared, dtype, tolerance):
    results = []
    for device, kind in (("cpu", torch.float32), ("cuda", dtype)):
        model = tiny_llama(hidden_size=128).to(device, kind)
        assert use_forest_attention(model) is None
        scoring = ScoringModel(model, Nll(), 1)
        total = 0.0
        for pack in build_packs(branches(shared), 1000):
            sums = scoring(pack, branches(shared))
            sums.loss.backward()
            total += sums.loss.item()
        gradient = model.model.embed_tokens.weight.grad.float().cpu()
        results.append((total, gradient))
    (loss, gradient), (found_loss, found_gradient) = results
    assert found_loss == pytest.approx(loss, rel=tolerance)
    scale = gradient.abs().max()
    assert (found_gradient - gradient).abs().max() <= 10 * tolerance * scale
