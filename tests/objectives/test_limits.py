"""Limits name the setting, what it is, what is allowed and a remedy."""

from __future__ import annotations

import math

import pytest
import torch

from danlu.errors import RecipeError
from danlu.objectives.limits import check_choice, check_number, check_precision, widened


@pytest.mark.parametrize(
    ("value", "limits", "allowed"),
    [
        (0.0, {"above": 0}, "above 0"),
        (-0.5, {"least": 0, "below": 0.5}, "at least 0 and below 0.5"),
        (0.5, {"least": 0, "below": 0.5}, "at least 0 and below 0.5"),
        (1.5, {"above": 0, "most": 1}, "above 0 and at most 1"),
        (math.inf, {"above": 0}, "finite and above 0"),
        (math.nan, {"most": 2}, "finite and at most 2"),
        (-math.inf, {}, "finite"),
    ],
)
def test_a_number_outside_its_limits(value, limits, allowed):
    with pytest.raises(RecipeError) as caught:
        check_number("beta", value, "0.1 is usual.", **limits)
    assert str(caught.value) == f"objective.beta: is {value}; it must be {allowed}. 0.1 is usual."


@pytest.mark.parametrize(
    ("value", "limits"),
    [(1e-9, {"above": 0}), (0, {"least": 0, "below": 0.5}), (1, {"above": 0, "most": 1}), (-3, {})],
)
def test_a_number_within_its_limits(value, limits):
    check_number("beta", value, "", **limits)


def test_a_choice():
    check_choice("loss", "ipo", ["sigmoid", "ipo"])
    with pytest.raises(
        RecipeError, match=r"^objective.loss: 'ipu' is unknown. Did you mean 'ipo'\?$"
    ):
        check_choice("loss", "ipu", ["sigmoid", "ipo"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64])
def test_half_precision_is_refused(dtype):
    wide = torch.zeros(1)
    check_precision(policy=wide, reference=wide.double(), missing=None)
    message = f"old is {dtype}; log-probabilities must be float32 or float64. Take the log-softmax"
    with pytest.raises(ValueError, match=message):
        check_precision(policy=wide, old=wide.to(dtype))


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.float32),
        (torch.bool, torch.float32),
    ],
)
def test_widened(dtype, wide):
    assert widened(torch.ones(1, dtype=dtype)).dtype == wide
