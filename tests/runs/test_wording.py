from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from danlu.config.recipe import ObjectiveSection
from danlu.objectives import MAKERS, build_objective
from danlu.runs.metric_words import LOSS_NOTES, METRICS
from danlu.runs.wording import headlines, in_order, metric, metric_value


class Ones(dict[str, Any]):
    """Totals with whatever an objective asks for."""

    def __missing__(self, _):
        return np.ones(())

    def __contains__(self, _):
        return True


@pytest.mark.parametrize("name", MAKERS)
def test_every_number_of_every_objective_has_words(name):
    """Whatever an objective reports, the page says what it means and what to watch for."""
    numbers = build_objective(ObjectiveSection(name=name)).metrics(Ones())
    for number in numbers.keys() - {"loss"}:
        words = metric(number, name)
        assert words.meaning.endswith("."), number
        assert words.watch.endswith("."), number
    assert name == "nll" or LOSS_NOTES[name].endswith(".")


def test_words_of_an_objective_come_before_those_of_the_name():
    assert "score" in metric("margin", "reward").meaning
    assert "thumbs up" in metric("margin", "kto").meaning
    assert metric("accuracy", "classify").mark is None
    assert metric("accuracy", "dpo").mark == (0.5, "chance")


def test_a_number_without_words_is_called_by_its_name():
    assert metric("tokens_lost", "dpo").title == "Tokens lost"
    assert headlines(["tokens_lost", "margin", "chosen_nll", "accuracy"]) == ["accuracy", "margin"]
    assert in_order(["zeta", "alpha", "score", "margin"]) == ["margin", "score", "zeta", "alpha"]


def test_every_word_belongs_to_one_number_and_titles_differ():
    names = [key for key in METRICS if "." not in key]
    assert len({METRICS[name].title for name in names}) == len(names)
    for key in METRICS:
        assert key.rpartition(".")[2] in names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (-0.00001, "0.000"),
        (0.00123, "0.0012"),
        (0.0123, "0.012"),
        (12.345, "12.35"),
        (-123.45, "−123.5"),
        (54321.0, "54,321"),
        (None, "–"),
    ],
)
def test_metrics_have_about_four_digits(value, text):
    assert metric_value(value) == text
