"""Attention with kept weights is the flash kernel's, alone and below a prefix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.models import attention
from danlu.models.attention import ForestLayout, forest_attention
from danlu.models.kept_attention import LENGTHS, keeps_weights, kept_backward, kept_forward

WIDTH = 8
SCALE = 0.4


def drawn(seed, heads, tokens, *, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    # As the layers have it: (T, H, D), seen as (H, T, D).
    return 2 * torch.randn(tokens, heads, WIDTH, generator=generator).to(dtype).transpose(0, 1)


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(LENGTHS.start, 200),
    groups=st.integers(1, 3),
    shared=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_output_and_gradients_are_flashs(tokens, groups, shared, seed):
    query, grad = (drawn(seed + n, groups * shared, tokens) for n in range(2))
    key, value = (drawn(seed + n, groups, tokens) for n in range(2, 4))
    output, lse, highest, kept = kept_forward(query, key, value, scale=SCALE)
    found = kept_backward(
        grad, query, key, value, output, lse, highest=highest, kept=kept, scale=SCALE
    )

    parts = [part[None] for part in (query, key, value)]
    flash, flash_lse = attention._flash_forward(*parts, 0.0, True, scale=SCALE)
    expected = attention._flash_backward(
        grad[None], *parts, flash, flash_lse, 0.0, True, scale=SCALE
    )
    torch.testing.assert_close(output, flash[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lse, flash_lse[0], rtol=1e-5, atol=1e-5)
    for ours, flashs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, flashs[0], rtol=1e-4, atol=1e-4)


UNTIL = [300] * 20 + [130] * 110 + [300] * 100 + [270] * 40 + [300] * 30
"""A prefix of 20 tokens with a branch of 110 below it and one of 100, which parts once more."""


def asked(dtype, *, learns=True):
    parts = [drawn(n, heads, 300, dtype=dtype)[None] for n, heads in enumerate((4, 2, 2))]
    parts = [part.detach().requires_grad_(learns) for part in parts]
    forest = ForestLayout(torch.tensor(UNTIL), torch.device("cpu"))
    output, _ = forest_attention(None, *parts, scaling=SCALE, forest=forest)
    if learns:
        output.mul(drawn(9, 4, 300, dtype=dtype).transpose(0, 1)[None]).sum().backward()
    return output, [part.grad for part in parts]


def test_a_segment_below_a_prefix_is_computed_as_by_flash_in_double_precision():
    assert keeps_weights(110, torch.float32)
    assert not keeps_weights(110, torch.float64)
    output, grads = asked(torch.float32)
    exact, exact_grads = asked(torch.float64)
    torch.testing.assert_close(output.double(), exact, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(grads, exact_grads, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_weights_are_kept_where_there_will_be_a_backward_pass_only(monkeypatch):
    lengths = []

    def watched(query, *others, **options):
        lengths.append(query.shape[1])
        return kept_forward(query, *others, **options)

    monkeypatch.setattr(attention, "kept_forward", watched)
    asked(torch.float32, learns=False)
    assert lengths == []
    asked(torch.float32)
    assert lengths == [110, 100]  # the others are too short


@pytest.mark.parametrize("tokens", [LENGTHS.start - 1, LENGTHS.stop])
def test_very_short_and_long_segments_are_left_to_flash(tokens):
    assert not keeps_weights(tokens, torch.float32)
