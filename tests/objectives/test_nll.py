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


def predictions(weight: float = 1.0) -> Predictions:
    """Logits are (0, 0) for the first two predictors and (ln 3, 0) for the third."""
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    hidden = torch.tensor([[0.0, 0.0], [0.0, 0.0], [math.log(3), 0.0]])
    nothing = torch.zeros(0)
    return Predictions(
        hidden_SD=hidden,
        target=torch.tensor([0, 1, 1]),
        weight=torch.tensor([1.0, 2.0, 0.5]) * weight,
        channel=torch.tensor([0, 2, 0]),
        branch=torch.zeros(3, dtype=torch.int64),
        channels=3,
        head=OutputHead(module),
        answers=Answers(nothing, 0, *[nothing] * 5),
    )


def test_sums_by_hand():
    """Logits are (0, 0) for the first two predictors and (ln 3, 0) for the third.

    Targets 0, 1, 1 have probability 1/2, 1/2 and 1/4, so nll ln 2, ln 2 and ln 4. Weighted by 1,
    2 and 0.5: channel 0 has ln 2 + 0.5 ln 4 = 2 ln 2 over weight 1.5, channel 2 has 2 ln 2 over 2.
    """
    sums = Nll().sums(predictions())
    assert sums.loss.item() == pytest.approx(4 * math.log(2))
    assert sums.totals["nats"].tolist() == pytest.approx([2 * math.log(2), 0, 2 * math.log(2)])
    assert sums.totals["weight"].tolist() == [1.5, 0, 2]
    assert sums.totals["tokens"].tolist() == [2, 0, 1]


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_watched_tokens_are_told_beside_the_loss_whatever_their_weight(weight):
    """Token 1 is the target of the second and third prediction: ln 2 in channel 2, ln 4 in 0."""
    nll = Nll(watched=(("stop_loss", (7, 1)), ("new_token_loss", (5,))))
    sums = nll.sums(predictions(weight))
    assert sums.loss.item() == Nll().sums(predictions(weight)).loss.item()
    numbers = nll.metrics({name: total.numpy() for name, total in sums.totals.items()})
    assert numbers["stop_loss"][[0, 2]].tolist() == pytest.approx([math.log(4), math.log(2)])
    assert math.isnan(numbers["stop_loss"][1])
    assert all(map(math.isnan, numbers["new_token_loss"]))


def test_every_objective_is_named_in_the_recipe():
    named = set(get_args(ObjectiveSection.model_fields["name"].annotation))
    assert named == set(MAKERS) == set(OBJECTIVE_SETTINGS)


@pytest.mark.parametrize("name", MAKERS)
def test_the_recipe_has_the_settings_of_every_objective(name):
    objective = build_objective(ObjectiveSection(name=name))
    config = objective if name == "nll" else next(iter(vars(objective).values()))
    fields = {field.name for field in dataclasses.fields(config)} - {"watched"}
    assert fields == set(OBJECTIVE_SETTINGS[name])
    assert objective.needs_reference == (name in WITH_REFERENCE)


def test_a_setting_of_another_objective_is_refused():
    with pytest.raises(ValidationError, match="gamma does nothing with objective dpo"):
        ObjectiveSection(name="dpo", gamma=1.0)
