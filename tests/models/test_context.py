"""Several processes compute a pack: their shares, what each attends to, what they exchange."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from danlu.models.attention import ForestLayout
from danlu.models.context import ContextGroup, added_up, gather_tokens
from danlu.sequences.forest import build_packs
from tests.models.test_accelerator_attention import branches
from tests.processes import apart


@st.composite
def layouts(draw):
    lengths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=6))
    return build_packs(branches(draw(st.integers(0, 12)), lengths), 10_000)[0].visible_until


@given(layouts(), st.integers(1, 4))
def test_the_blocks_of_all_processes_are_the_visibility_rule_each_once(until, size):
    tokens = len(until)
    seen = None
    for rank in range(size):
        share = ContextGroup(None, size, rank).share(tokens)
        whole = np.concatenate([until, np.arange(tokens, share.tokens) + 1])
        seen = np.zeros((share.tokens, share.tokens), int) if seen is None else seen
        layout = ForestLayout(torch.from_numpy(whole), torch.device("cpu"), share)
        causal = [block.causal for block in layout.blocks]
        assert causal == sorted(causal, reverse=True)  # the causal ones come first
        for queries, keys, is_causal in layout.blocks:
            for q, query in enumerate(share.own[queries].tolist()):
                row = seen[query, keys]
                row[: q + 1 if is_causal else None] += 1
    k, q = np.arange(share.tokens)[None, :], np.arange(share.tokens)[:, None]
    assert np.array_equal(seen, (k <= q) & (q < whole[None, :]))


def test_shares_are_equal_and_have_every_token_once():
    shares = [ContextGroup(None, 3, rank).share(20) for rank in range(3)]
    assert {share.tokens for share in shares} == {24}
    assert torch.equal(torch.cat([share.own for share in shares]).sort()[0], torch.arange(24))
    assert shares[1].ranges == ((4, 8), (16, 20))
    assert shares[1].local[[4, 19, 0]].tolist() == [0, 7, -1]


def exchange() -> None:
    """In each of two processes: what is gathered, and where gradients go."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    context = ContextGroup(dist.group.WORLD, 2, rank)
    share = context.share(8)
    whole = torch.arange(48.0, dtype=torch.float64).reshape(1, 2, 8, 3)
    own = whole[:, :, share.own].clone().requires_grad_()
    gathered = gather_tokens(own, share)
    assert torch.equal(gathered, whole)
    factor = torch.arange(8.0)[:, None] + 10 * rank
    (gathered * factor).sum().backward()
    both = 2 * torch.arange(8.0, dtype=torch.float64)[:, None] + 10
    assert torch.equal(own.grad, both[share.own].expand(1, 2, 4, 3))
    part = torch.tensor([1.0 + rank], requires_grad=True)
    total = added_up(part, context)
    total.square().sum().backward()
    assert total.item() == 3.0
    assert part.grad.item() == 6.0  # of its own part, and not of the other's too
    dist.destroy_process_group()


def test_what_processes_exchange(tmp_path):
    apart(exchange, log=tmp_path / "log.txt", processes=2).finish()


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_sees_what_blocks_see(monkeypatch):
    from torch.nn.attention.flex_attention import flex_attention

    from danlu.models import attention

    monkeypatch.setattr(attention, "_compiled_flex", flex_attention)
    until = torch.from_numpy(build_packs(branches(12), 1000)[0].visible_until)
    share = ContextGroup(None, 2, 1).share(len(until))
    until = torch.cat([until, torch.arange(len(until), share.tokens) + 1])
    layout = ForestLayout(until, torch.device("cpu"), share)
    torch.manual_seed(0)
    query = torch.randn(1, 4, len(share.own), 16)
    key, value = torch.randn(2, 1, 2, share.tokens, 16)
    expected = attention._BlockAttention.apply(query, key, value, layout.blocks, 0.25)
    found = attention._flex_attention(query, key, value, layout, 0.25)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
