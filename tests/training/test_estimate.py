"""The dry run counts exactly what the run then does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError
from danlu.models.tuning import apply_tuning
from danlu.training.estimate import _matrix_parameters, _state_bytes, dry_run
from danlu.training.run import train
from tests.tiny_models import tiny_llama


def test_counts_are_those_of_the_run(tiny_recipe):
    recipe = tiny_recipe(data={"eval_share": 0.2}, sequences={"max_length": 60})
    plan = dry_run(recipe)
    assert not Path(recipe.runs_dir).exists()
    run = train(recipe, progress=False)
    assert plan.steps == run.summary.steps
    assert plan.records == run.summary.records
    assert plan.eval_records == run.summary.eval_records
    assert plan.unique_tokens_per_step * plan.steps == pytest.approx(run.summary.unique_tokens)
    supervised = sum(row.supervised_tokens for row in plan.rows())
    assert supervised * recipe.training.epochs == run.summary.supervised_tokens
    assert sum(row.loss_share for row in plan.rows()) == pytest.approx(1)
    assert plan.train_seconds > 0
    assert plan.memory_bytes > 0
    json.dumps(plan.as_dict())


def test_what_is_dropped_is_counted(tiny_recipe):
    plan = dry_run(tiny_recipe(sequences={"max_length": 40}))
    dropped = [count for row in plan.rows() for count in row.dropped.values()]
    assert sum(dropped) > 0


def test_parameters_are_those_of_the_model():
    model = tiny_llama()
    body = sum(p.numel() for n, p in model.named_parameters() if "layers" in n and p.ndim == 2)
    head = model.get_output_embeddings().weight.numel()
    assert _matrix_parameters(model.config) == (body, head)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_states_are_those_of_the_model_and_its_adamw(tiny_recipe, method, kind):
    """Weights as they are loaded; of those that move also gradient and moments, in float32."""
    model = tiny_llama().to(torch.float32 if method == "full" else kind)
    matrices, head = _matrix_parameters(model.config)
    tuning = TuningSection(method=method)
    tuned = apply_tuning(model, tuning)
    expected = 0
    for name, parameter in tuned.named_parameters():
        if parameter.requires_grad:
            expected += 16 * parameter.numel()
        elif "norm" not in name:  # too small to be counted
            expected += parameter.element_size() * parameter.numel()
    if method == "full":
        expected -= sum(16 * p.numel() for n, p in tuned.named_parameters() if "norm" in n)
    recipe = tiny_recipe(tuning={"method": method})
    found = _state_bytes(recipe, model.config, (matrices, matrices + head), kind)
    assert found == expected


def test_quantised_weights_take_less(tiny_recipe):
    config = tiny_llama().config
    weights = (1_000_000.0, 1_200_000.0)

    def of(**tuning):
        recipe = tiny_recipe(tuning=tuning)
        return _state_bytes(recipe, config, weights, torch.bfloat16)

    plain = of(method="lora")
    assert plain - of(method="qlora", quantisation="int8") == pytest.approx(1_000_000)
    assert plain - of(method="qlora", quantisation="nf4") == pytest.approx(1_480_000)


def test_without_data_there_is_no_plan(tiny_recipe):
    with pytest.raises(RecipeError, match="names no training data"):
        dry_run(tiny_recipe(data={"train": []}))
