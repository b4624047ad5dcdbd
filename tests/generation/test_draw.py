"""Drawing tokens: worked by hand, and by counting."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.errors import DanluError
from danlu.generation import Sampling
from danlu.generation import draw as drawing
from danlu.generation.draw import draw, token_logprobs, uniforms

# Probabilities 0.5, 0.25, 0.15, 0.1 in the order of tokens 2, 0, 3, 1.
LOGITS = torch.tensor([[0.25, 0.1, 0.5, 0.15]]).log()


def drawn(uniform, **settings):
    sampling = Sampling(**{"temperature": 1.0, "top_p": 1.0, **settings})
    return draw(LOGITS, sampling, torch.tensor([uniform], dtype=torch.float64)).item()


def test_the_running_sum_decides_when_all_tokens_may_come():
    """Sums in token order: 0.25, 0.35, 0.85, 1."""
    found = [drawn(uniform) for uniform in (0.0, 0.2499, 0.26, 0.36, 0.84, 0.86, 0.9999)]
    assert found == [0, 0, 1, 2, 2, 3, 3]


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    """0.7 needs tokens 2 and 0 (0.75); renormalised sums: 0.667, 1."""
    assert [drawn(uniform, top_p=0.7) for uniform in (0.0, 0.66, 0.67, 0.9999)] == [2, 2, 0, 0]
    assert drawn(0.9999, top_p=0.5) == 2  # reached by one token exactly
    assert drawn(0.9999, top_p=0.01) == 2


def test_temperature_sharpens():
    """At temperature 0.5 the odds are squared: 0.25, 0.0625, 0.0225, 0.01 over 0.345."""
    assert drawn(0.70, temperature=0.5, top_p=0.999) == 2  # up to 0.7246
    assert drawn(0.74, temperature=0.5, top_p=0.999) == 0
    assert drawn(0.74, temperature=1.0, top_p=0.999) == 0
    assert drawn(0.70, temperature=1.0, top_p=0.999) == 0


def test_greedy_takes_the_likeliest():
    assert drawn(0.9999, greedy=True) == 2


def test_a_wide_nucleus_is_sorted_in_full(monkeypatch):
    """Few candidates that do not reach top_p must give what a full sort gives."""
    logits = torch.randn(5, 300, generator=torch.Generator().manual_seed(0)) / 10
    uniform = uniforms(3, range(5), 1)[:, 0]
    sampling = Sampling(temperature=1.0, top_p=0.9)
    expected = draw(logits, sampling, uniform)
    monkeypatch.setattr(drawing, "CANDIDATES", 4)
    assert torch.equal(draw(logits, sampling, uniform), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1.0), st.floats(0.2, 3.0))
def test_no_token_outside_the_nucleus_is_ever_drawn(seed, top_p, temperature):
    logits = 3 * torch.randn(1, 50, generator=torch.Generator().manual_seed(seed))
    probs, order = torch.softmax(logits[0].double() / temperature, -1).sort(descending=True)
    allowed = {
        int(token)
        for token, before in zip(order, probs.cumsum(0) - probs, strict=True)
        if before < top_p
    }
    sampling = Sampling(temperature=temperature, top_p=top_p)
    uniform = uniforms(seed, [0], 64)[0]
    found = {draw(logits, sampling, one.reshape(1)).item() for one in uniform}
    assert found <= allowed


def test_shares_are_those_of_the_model():
    """20,000 draws; three standard errors of a share of 0.5 are 0.011."""
    uniform = uniforms(0, [0], 20_000)[0]
    sampling = Sampling(temperature=1.0, top_p=1.0)
    found = draw(LOGITS.expand(20_000, -1), sampling, uniform)
    shares = torch.bincount(found, minlength=4) / 20_000
    assert torch.allclose(shares, LOGITS.exp()[0], atol=0.011)


def test_logprobs_are_the_models_own():
    assert token_logprobs(LOGITS + 7, torch.tensor([2])).exp().item() == pytest.approx(0.5)


def test_a_rows_numbers_do_not_depend_on_its_neighbours():
    together = uniforms(5, [0, 1, 2], 8)
    assert torch.equal(uniforms(5, [2], 8)[0], together[2])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(uniforms(6, [0], 8)[0], together[0])


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"max_new_tokens": 0}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(DanluError, match=next(iter(wrong))):
        Sampling(**wrong)
