"""Merging by numbers worked out by hand."""

from __future__ import annotations

import torch

from danlu.models.merging import linear, task_arithmetic, ties, trim


def weights(*values: float) -> dict[str, torch.Tensor]:
    """Two tensors, so that trimming over all of them differs from trimming each."""
    return {"a": torch.tensor(values[:2]), "b": torch.tensor(values[2:])}


def values(found: dict[str, torch.Tensor]) -> list[float]:
    return [*found["a"].tolist(), *found["b"].tolist()]


BASE = weights(1.0, 1.0, 1.0, 1.0)
ONE = weights(5.0, 3.0, 1.5, 0.0)  # changes 4, 2, 0.5, -1
TWO = weights(-1.0, 4.0, 1.0, 2.0)  # changes -2, 3, 0, 1


def test_linear() -> None:
    assert values(linear([ONE, TWO], [0.5, 0.5])) == [2.0, 3.5, 1.25, 1.0]
    assert values(linear([ONE, TWO], [0.25, 0.75])) == [0.5, 3.75, 1.125, 1.5]


def test_task_arithmetic() -> None:
    """1 + 4 - 0.5 * -2 = 6; 1 + 2 - 0.5 * 3 = 1.5; 1 + 0.5; 1 - 1 - 0.5 = -0.5."""
    assert values(task_arithmetic(BASE, [ONE, TWO], [1.0, -0.5])) == [6.0, 1.5, 1.5, -0.5]


def test_trim_is_over_all_tensors() -> None:
    """Of 4, 2, 0.5, -1 half is 4 and 2, both in one tensor."""
    found = trim({"a": torch.tensor([4.0, 2.0]), "b": torch.tensor([0.5, -1.0])}, 0.5)
    assert values(found) == [4.0, 2.0, 0.0, 0.0]


def test_ties() -> None:
    """Nothing trimmed: signs of 2, 5, 0.5, 0 are +, +, +, none.

    So 4 (of 4 and -2), (2 + 3) / 2, 0.5 (0 does not count), 0 (-1 and 1 are undecided).
    """
    assert values(ties(BASE, [ONE, TWO], [1.0, 1.0], density=1.0)) == [5.0, 3.5, 1.5, 1.0]
    assert values(ties(BASE, [ONE, TWO], [1.0, 1.0], density=1.0, scale=2.0)) == [
        9.0,
        6.0,
        2.0,
        1.0,
    ]


def test_ties_trims_first() -> None:
    """A half each: 4, 2, 0, 0 and -2, 3, 0, 0."""
    assert values(ties(BASE, [ONE, TWO], [1.0, 1.0], density=0.5)) == [5.0, 3.5, 1.0, 1.0]


def test_ties_weights_vote_and_average() -> None:
    """Weights 1 and 3: 4 - 6 is negative, so -2; (2 + 9) / 4; 0.5; -1 + 3 is positive, so 1."""
    assert values(ties(BASE, [ONE, TWO], [1.0, 3.0], density=1.0)) == [-1.0, 3.75, 1.5, 2.0]
