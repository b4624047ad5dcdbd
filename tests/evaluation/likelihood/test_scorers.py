"""Scores from log-probabilities, worked by hand."""

import math

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.likelihood.scorers import (
    Likelihood,
    LikelihoodChoice,
    LogLikelihood,
    Perplexity,
    make_likelihood,
)
from danlu.evaluation.schema import Item, LikelihoodRow
from tests.evaluation.scripted import asks


def row(text: str, probability: float, tokens: int = 1, option: str | None = None) -> LikelihoodRow:
    key = text if option is None else option
    return LikelihoodRow(
        item="a", option=key, text=text, logprob=math.log(probability), tokens=tokens
    )


LISTED = asks("a", "?", "dog", context={"options": ["dog", "elephants"]})
ROWS = {"dog": row("dog", 0.04, 1), "elephants": row("elephants", 0.09, 3)}


def test_choice_by_length_normalisation() -> None:
    """P: 0.04 against 0.09; per token 0.04 against 0.09^(1/3) = 0.448; per character 0.04^(1/3) =
    0.342 against 0.09^(1/9) = 0.765. With 0.3 for dog, only tokens and characters turn it."""
    assert LikelihoodChoice().score(LISTED, ROWS).value == 0.0
    rows = ROWS | {"dog": row("dog", 0.3)}
    taken = {
        name: LikelihoodChoice(normalise=name).score(LISTED, rows).read
        for name in ("none", "tokens", "characters")
    }
    assert taken == {"none": "dog", "tokens": "elephants", "characters": "elephants"}
    figures = LikelihoodChoice().over_task([LISTED, LISTED], [ROWS, rows])
    assert figures == {
        "accuracy_none": 0.5,
        "accuracy_tokens": 0.0,
        "accuracy_characters": 0.0,
        "share_right": pytest.approx((0.04 / 0.13 + 0.3 / 0.39) / 2),
    }


def test_keys_or_texts_are_what_is_answered() -> None:
    item = asks("a", "?", {"answer": "B", "options": {"A": "巴黎", "B": "伦敦"}})
    assert LikelihoodChoice().options(item) == {"A": "A", "B": "B"}
    assert LikelihoodChoice(of="texts").options(item) == {"A": "巴黎", "B": "伦敦"}
    rows = {"A": row("巴黎", 0.2, option="A"), "B": row("伦敦", 0.5, option="B")}
    assert LikelihoodChoice(of="texts").score(item, rows).value == 1.0


def test_labels_of_the_task_type_are_options_of_items_without() -> None:
    item = asks("a", "?", "no")
    assert LikelihoodChoice(labels=("yes", "no")).options(item) == {"yes": "yes", "no": "no"}
    with pytest.raises(EvaluationError, match="0 options"):
        LikelihoodChoice().options(item)
    with pytest.raises(EvaluationError, match="'no', and no option is"):
        LikelihoodChoice(labels=("up", "down")).options(item)


def test_sum_and_mean_of_the_probability_and_of_its_logarithm() -> None:
    """P = 1/2 in one token and 1/8 in two: perplexity = exp(-(ln 1/16) / 3) = 16^(1/3)."""
    rows = [{"": row("x", 0.5, 1, "")}, {"": row("y", 0.125, 2, "")}]
    items = [asks("a", "?", "x"), asks("b", "?", "y")]
    found = Likelihood().over_task(items, rows)
    assert found == {
        "sum_probability": pytest.approx(0.625),
        "mean_probability": pytest.approx(0.3125),
        "sum_logprob": pytest.approx(math.log(1 / 16)),
        "mean_logprob": pytest.approx(math.log(1 / 16) / 2),
        "perplexity": pytest.approx(16 ** (1 / 3)),
    }
    assert Likelihood().score(items[0], rows[0]).value == pytest.approx(0.5)
    assert LogLikelihood().score(items[0], rows[0]).value == pytest.approx(math.log(0.5))
    assert Perplexity().score(items[1], rows[1]).value == pytest.approx(math.log(0.125) / 2)
    assert Perplexity().over_task(items, rows) == found


def test_plain_text_is_its_own_reference_and_of_no_token_it_is_missing() -> None:
    text = Item(id="a", task_type="plain/wiki", messages=({"role": "text", "content": "水星"},))
    assert Perplexity().options(text) == {"": "水星"}
    nothing = LikelihoodRow(item="a", text="水", logprob=0.0, tokens=0)
    assert Perplexity().score(text, {"": nothing}).value is None


def test_wrong_settings_are_told() -> None:
    with pytest.raises(EvaluationError, match="normalise: is 'bytes'"):
        make_likelihood("likelihood_choice", {"normalise": "bytes"})
    with pytest.raises(EvaluationError, match=r"likelihood_choice\.normalize: no such setting"):
        make_likelihood("likelihood_choice", {"normalize": "none"})


def test_texts_too_short_or_too_strange_for_a_perplexity_end_no_evaluation() -> None:
    one = Item(id="a", task_type="a/b", messages=(), reference="水")
    nothing = {"": LikelihoodRow(item="a", text="水", logprob=0.0, tokens=0)}
    assert Perplexity().over_task([one], [nothing]) == {}
    strange = {"": LikelihoodRow(item="a", text="水", logprob=-1600.0, tokens=2)}
    assert Perplexity().over_task([one], [strange])["perplexity"] > 1e300
