from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from danlu.config.recipe import Recipe
from danlu.errors import RunError
from danlu.runs import Environment, MetricsRow, Resolved, Sample, ScoreRow, Summary
from danlu.runs.files import parse_row

SUMMARY = {
    "name": "r",
    "model": "m",
    "method": "lora",
    "steps": 3,
    "epochs": 1.0,
    "records": 4,
    "train_seconds": 2.5,
}
SCORE = {"record": "r", "task_type": "a/x", "response": 0, "rank": 1, "score": 0.5}


def test_a_row_survives_writing_and_reading():
    row = MetricsRow(
        step=2,
        epoch=0.5,
        loss=1.25,
        learning_rate=2e-4,
        channels={
            "通用/常识": {"loss": 1.25, "tokens": 8, "records": 2, "metrics": {"margin": -1}}
        },
        metrics={"accuracy": 0.5},
    )
    assert parse_row(MetricsRow, row.to_json(), "here") == row
    assert "通用/常识" in row.to_json()


def test_every_line_has_the_same_keys():
    train = json.loads(MetricsRow(step=1, epoch=0.1, loss=2.0, grad_norm=1.0).to_json())
    evaluation = json.loads(MetricsRow(step=1, epoch=0.1, loss=2.0, split="eval").to_json())
    assert list(train) == list(evaluation)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"lss": 1.0}, "lss"),
        ({"loss": None}, "loss"),
        ({"step": -1}, "step"),
        ({"split": "test"}, "split"),
        ({"channels": {"a/b": {"loss": 1.0}}}, "channels.a/b.tokens"),
    ],
)
def test_a_row_that_is_not_one_is_refused_by_place(change, place):
    text = json.dumps({"step": 1, "epoch": 0.1, "loss": 2.0, **change})
    with pytest.raises(RunError, match=f"metrics.jsonl:7.*{place}"):
        parse_row(MetricsRow, text, "metrics.jsonl:7")


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_refused(loss):
    with pytest.raises(ValidationError, match="finite"):
        MetricsRow(step=1, epoch=0.1, loss=loss)


def test_half_a_surrogate_pair_becomes_a_mark_that_utf8_can_write():
    assert Sample(prompt="a\ud83d", before="x").prompt == "a?"


def test_a_summary_keeps_further_keys():
    summary = Summary(**SUMMARY, quickstart={"identity_after": 19})
    assert summary.more == {"quickstart": {"identity_after": 19}}
    assert parse_row(Summary, summary.to_json(), "here").more == summary.more


@pytest.mark.parametrize("change", [{"score": float("nan")}, {"rank": None}, {"response": -1}])
def test_a_score_without_a_number_or_a_rank_is_refused(change):
    with pytest.raises(ValidationError):
        ScoreRow(**{**SCORE, **change})


def test_what_was_learned_is_read_from_the_recipe_of_any_version():
    def resolved(recipe):
        return Resolved(
            recipe=recipe, environment=Environment(versions={}, platform="Linux", cpu_count=2)
        )

    old = resolved({"name": "r"})
    assert (old.objective, old.documents) == ("nll", False)
    assert resolved(Recipe(name="r", objective={"name": "kto"}).model_dump()).objective == "kto"
    assert resolved(Recipe(name="r", sequences={"documents": True}).model_dump()).documents is True
