"""The sums by hand."""

import math

import pytest
import torch
from torch import nn

from danlu.models.head import OutputHead
from danlu.objectives import OBJECTIVES, Nll, Predictions


def test_sums_by_hand():
    """Logits are (0, 0) for the first predictor and (ln 3, 0) for the second.

    Targets 0, 1, 1 have probability 1/2, 1/2 and 1/4, so nll ln 2, ln 2 and ln 4. Weighted by 1,
    2 and 0.5: channel 0 has ln 2 + 0.5 ln 4 = 2 ln 2 over weight 1.5, channel 2 has 2 ln 2 over 2.
    """
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    hidden = torch.tensor([[0.0, 0.0], [0.0, 0.0], [math.log(3), 0.0]])
    sums = Nll().sums(
        Predictions(
            hidden_SD=hidden,
            target=torch.tensor([0, 1, 1]),
            weight=torch.tensor([1.0, 2.0, 0.5]),
            channel=torch.tensor([0, 2, 0]),
            branch=torch.zeros(3, dtype=torch.int64),
            channels=3,
            head=OutputHead(module),
        )
    )
    assert sums.loss.item() == pytest.approx(4 * math.log(2))
    assert sums.nats.tolist() == pytest.approx([2 * math.log(2), 0, 2 * math.log(2)])
    assert sums.weight.tolist() == [1.5, 0, 2]
    assert sums.tokens.tolist() == [2, 0, 1]


def test_every_objective_is_named_in_the_recipe():
    from typing import get_args

    from danlu.config.recipe import ObjectiveSection

    assert set(get_args(ObjectiveSection.model_fields["name"].annotation)) == set(OBJECTIVES)
