"""The dry run counts exactly what the run then does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.errors import RecipeError
from danlu.training.estimate import _matrix_parameters, dry_run
from danlu.training.run import train


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
    from tests.tiny_models import tiny_llama

    model = tiny_llama()
    body = sum(p.numel() for n, p in model.named_parameters() if "layers" in n and p.ndim == 2)
    head = model.get_output_embeddings().weight.numel()
    assert _matrix_parameters(model.config) == (body, head)


def test_without_data_there_is_no_plan(tiny_recipe):
    with pytest.raises(RecipeError, match="names no training data"):
        dry_run(tiny_recipe(data={"train": []}))
