"""The sums by hand."""

import dataclasses
import math
from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from danlu.config.recipe import OBJECTIVE_SETTINGS, WITH_REFERENCE, ObjectiveSection
from danlu.models.head import OutputHead
from danlu.objectives import MAKERS, Answers, Nll, Predictions, build_objective


def test_sums_by_hand():
    """Logits are (0, 0) for the first predictor and (ln 3, 0) for the second.

    Targets 0, 1, 1 have probability 1/2, 1/2 and 1/4, so nll ln 2, ln 2 and ln 4. Weighted by 1,
    2 and 0.5: channel 0 has ln 2 + 0.5 ln 4 = 2 ln 2 over weight 1.5, channel 2 has 2 ln 2 over 2.
    """
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    hidden = torch.tensor([[0.0, 0.0], [0.0, 0.0], [math.log(3), 0.0]])
    nothing = torch.zeros(0)
    sums = Nll().sums(
        Predictions(
            hidden_SD=hidden,
            target=torch.tensor([0, 1, 1]),
            weight=torch.tensor([1.0, 2.0, 0.5]),
            channel=torch.tensor([0, 2, 0]),
            branch=torch.zeros(3, dtype=torch.int64),
            channels=3,
            head=OutputHead(module),
            answers=Answers(nothing, 0, *[nothing] * 5),
        )
    )
    assert sums.loss.item() == pytest.approx(4 * math.log(2))
    assert sums.totals["nats"].tolist() == pytest.approx([2 * math.log(2), 0, 2 * math.log(2)])
    assert sums.totals["weight"].tolist() == [1.5, 0, 2]
    assert sums.totals["tokens"].tolist() == [2, 0, 1]


def test_every_objective_is_named_in_the_recipe():
    named = set(get_args(ObjectiveSection.model_fields["name"].annotation))
    assert named == set(MAKERS) == set(OBJECTIVE_SETTINGS)


@pytest.mark.parametrize("name", MAKERS)
def test_the_recipe_has_the_settings_of_every_objective(name):
    objective = build_objective(ObjectiveSection(name=name))
    config = next(iter(vars(objective).values()), objective)
    assert {field.name for field in dataclasses.fields(config)} == set(OBJECTIVE_SETTINGS[name])
    assert objective.needs_reference == (name in WITH_REFERENCE)


def test_a_setting_of_another_objective_is_refused():
    with pytest.raises(ValidationError, match="gamma does nothing with objective dpo"):
        ObjectiveSection(name="dpo", gamma=1.0)
