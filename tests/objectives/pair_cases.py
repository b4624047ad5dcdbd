"""Preference pairs for the tests of several objectives, and what must hold for all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from danlu.errors import TrainingError
from danlu.objectives.pairs import PairObjective, Pairs


def hand_pairs(dtype: torch.dtype = torch.float64, reference: bool = True) -> Pairs:
    """Two pairs with round log-ratios; all log-probabilities ask for gradients.

    Log-ratio to the reference: first pair 1 and -2 nats, so h = 3; second -2 and 1, so h = -3.
    Tokens: 4 and 8, 10 and 5. Nll per token of the chosen: 12 / 4 = 3 and 30 / 10 = 3.
    """

    def leaf(*values: float) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, requires_grad=True)

    return Pairs(
        chosen_P=leaf(-12, -30),
        rejected_P=leaf(-20, -25),
        chosen_reference_P=leaf(-13, -28) if reference else None,
        rejected_reference_P=leaf(-18, -26) if reference else None,
        chosen_tokens_P=torch.tensor([4, 10]),
        rejected_tokens_P=torch.tensor([8, 5]),
    )


@st.composite
def some_pairs(draw: st.DrawFn, reference: bool = True) -> Pairs:
    """One to six pairs in float64."""
    number = draw(st.integers(1, 6))

    def column(strategy: st.SearchStrategy[Any], dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor(draw(st.lists(strategy, min_size=number, max_size=number)), dtype=dtype)

    logprobs = st.floats(-300, -1e-3)
    policy = [column(logprobs, torch.float64) for _ in range(2)]
    references = [column(logprobs, torch.float64) for _ in range(2)] if reference else [None, None]
    tokens = [column(st.integers(1, 60), torch.int64) for _ in range(2)]
    return Pairs(*policy, *references, *tokens)


def take(pairs: Pairs, index: Any) -> Pairs:
    return Pairs(*(None if one is None else one[index] for one in pairs))


def assert_adds_up(objective: PairObjective, pairs: Pairs, cut: int) -> None:
    """Sums over two micro-batches, of which one may be empty, are those of the whole."""
    whole = objective.terms(pairs)
    first, second = (objective.terms(take(pairs, part)) for part in (slice(cut), slice(cut, None)))
    for name in whole._fields:
        added = getattr(first, name).sum() + getattr(second, name).sum()
        torch.testing.assert_close(added, getattr(whole, name).sum(), rtol=1e-10, atol=1e-10)


def assert_order_is_free(objective: PairObjective, pairs: Pairs, order: list[int]) -> None:
    """Pairs in another order have the same terms in that order."""
    for one, other in zip(objective.terms(take(pairs, order)), objective.terms(pairs), strict=True):
        torch.testing.assert_close(one, other[order], rtol=0, atol=0)


def assert_bad_pairs_are_refused(objective: PairObjective) -> None:
    pairs = hand_pairs()
    with pytest.raises(ValueError, match=r"one number per pair in every field; .*\(1,\)"):
        objective.terms(pairs._replace(rejected_P=pairs.rejected_P[:1]))
    with pytest.raises(ValueError, match="one number per pair"):
        objective.terms(Pairs(*(one.unsqueeze(0) for one in pairs)))
    with pytest.raises(ValueError, match=r"rejected_P is torch.bfloat16; .*must be float32"):
        objective.terms(pairs._replace(rejected_P=pairs.rejected_P.bfloat16()))
    no_tokens = pairs._replace(chosen_tokens_P=torch.tensor([4, 0]))
    with pytest.raises(
        TrainingError, match=r"chosen completion of pair 1 of 2 has no token.*max_length"
    ):
        objective.terms(no_tokens)
    no_tokens = pairs._replace(rejected_tokens_P=torch.tensor([0, 5]))
    with pytest.raises(TrainingError, match=r"rejected completion of pair 0 of 2 has no token"):
        objective.terms(no_tokens)


def assert_smooth(objective: PairObjective, reference: bool = False) -> None:
    """The gradient is that of finite differences; only the policy and the loss have one."""
    pairs = hand_pairs(reference=reference)

    def losses(chosen_P: torch.Tensor, rejected_P: torch.Tensor) -> torch.Tensor:
        return objective.terms(pairs._replace(chosen_P=chosen_P, rejected_P=rejected_P)).loss_P

    assert torch.autograd.gradcheck(losses, (pairs.chosen_P, pairs.rejected_P))
    terms = objective.terms(pairs)
    terms.loss_P.sum().backward()
    for one in (pairs.chosen_reference_P, pairs.rejected_reference_P):
        assert one is None or one.grad is None
    assert not any(one.requires_grad for one in terms[1:])
