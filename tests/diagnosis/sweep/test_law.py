"""The law is recovered where it is known, and says nothing where the data say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.diagnosis.sweep.law import POWERS, fit_law, fit_laws, forecast

AMOUNTS = [100, 300, 1000]


@settings(max_examples=40)
@given(
    st.floats(0, 2),
    st.floats(0.1, 20),
    st.sampled_from(POWERS[10:].tolist()),
)
def test_losses_that_follow_a_law_are_foretold(floor, scale, power):
    def loss(n: float) -> float:
        return floor + scale * n**-power

    law = fit_law(AMOUNTS, [loss(n) for n in AMOUNTS])
    assert law.at(2000) == pytest.approx(loss(2000), abs=1e-6)
    assert law.floor >= 0
    assert law.scale >= 0


def test_losses_that_rise_are_level_to_it():
    law = fit_law(AMOUNTS, [1.0, 1.1, 1.2])
    assert law.scale == 0
    assert law.at(10) == pytest.approx(1.1)


def test_many_fits_are_each_their_own():
    rng = np.random.default_rng(0)
    losses = np.sort(rng.uniform(0.5, 2, (20, 3)))[:, ::-1]
    together = fit_laws(AMOUNTS, losses)
    for row, law in zip(losses, together, strict=True):
        alone = fit_law(AMOUNTS, row.tolist())
        assert law.tolist() == pytest.approx([alone.floor, alone.scale, alone.power])


def records(losses: list[float], noise: float, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Nats and tokens of held-out records whose mean losses are given, apart by noise."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(5, 20, count).astype(float)
    apart = rng.normal(0, noise, (len(losses), count))
    apart -= apart @ tokens[:, None] / tokens.sum()
    return (np.array(losses)[:, None] + apart) * tokens, tokens


@pytest.mark.parametrize(
    ("losses", "noise", "answer"),
    [
        ([2.0, 1.5, 1.2], 0.01, "helps"),
        ([1.2, 1.2, 1.2], 0.01, "does not help"),
        ([1.25, 1.22, 1.2], 1.5, "unclear"),
    ],
)
def test_answers(losses, noise, answer):
    found = forecast(AMOUNTS, *records(losses, noise))
    assert found.answer == answer
    assert found.now == pytest.approx(losses[-1])
    assert found.low <= found.gain <= found.high or answer == "unclear"
    again = forecast(AMOUNTS, *records(losses, noise))
    assert (again.low, again.high) == (found.low, found.high)


@pytest.mark.parametrize("amounts", [[10], [10, 10], [0, 10]])
def test_too_few_amounts(amounts):
    with pytest.raises(ValueError, match="two different amounts"):
        fit_law(amounts, [1.0] * len(amounts))
