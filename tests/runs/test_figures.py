from __future__ import annotations

import math

import pytest

from danlu.runs import History, MetricsRow, figures, summarise
from danlu.runs.figures import Span

KNOWN = {"name": "r", "model": "m", "method": "lora", "records": 4}


def channel(loss: float, tokens: int, records: int = 1) -> dict[str, float]:
    return {"loss": loss, "tokens": tokens, "records": records}


def evaluation(step: int, loss: float, elapsed_s: float) -> MetricsRow:
    channels = {"a/x": channel(loss, 9)}
    return MetricsRow(
        step=step, epoch=step / 2, split="eval", loss=loss, channels=channels, elapsed_s=elapsed_s
    )


def two_types() -> list[MetricsRow]:
    first = MetricsRow(
        step=1,
        epoch=0.5,
        loss=2.0,
        tokens_per_second=100,
        unique_tokens=20,
        supervised_tokens=10,
        channels={"a/x": channel(2.5, 4), "b/y": channel(1.5, 6, 2)},
        elapsed_s=2,
    )
    second = MetricsRow(
        step=2,
        epoch=1.0,
        loss=1.0,
        tokens_per_second=300,
        unique_tokens=30,
        supervised_tokens=5,
        channels={"a/x": channel(1.0, 5)},
        elapsed_s=3,
    )
    evaluations = [evaluation(0, 3.0, 1), evaluation(2, 1.5, 4), evaluation(3, 1.75, 5)]
    return [evaluations[0], first, second, *evaluations[1:]]


def test_figures_by_hand():
    """Two training rows: 5 % of them is less than one, so first and last are one row each."""
    found = figures(History.of(two_types()))
    assert (found.step, found.epoch, found.elapsed_s) == (3, 1.5, 5)
    assert (found.unique_tokens, found.supervised_tokens, found.tokens_per_second) == (50, 15, 200)
    assert found.train == Span(2.0, 1.0, 2)
    assert found.eval == Span(3.0, 1.75, 3)
    assert (found.best_eval_loss, found.best_eval_step) == (1.5, 2)
    x, y = found.task_types
    assert (x.name, x.records, x.tokens, x.train) == ("a/x", 2, 9, Span(2.5, 1.0, 2))
    assert (y.name, y.records, y.tokens, y.eval) == ("b/y", 2, 6, None)
    assert x.eval is not None
    assert x.eval.change == pytest.approx(-1.25)


def test_the_ends_are_means_by_tokens():
    """Of 40 rows, 5 % are 2: the first mean is (4 * 30 + 1 * 10) / 40 = 3.25."""
    rows = [
        MetricsRow(step=s, epoch=s / 40, loss=4.0 if s == 1 else 1.0,
                   supervised_tokens=30 if s == 1 else 10)
        for s in range(1, 41)
    ]  # fmt: skip
    assert figures(History.of(rows)).train == Span(3.25, 1.0, 40)


def test_the_ends_of_a_long_run_are_ten_rows():
    """Of 1,000 rows, 5 % would be 50, which hides the fall at the start; ten are taken."""
    rows = [MetricsRow(step=s, epoch=0, loss=5.0 if s <= 10 else 1.0) for s in range(1, 1001)]
    found = figures(History.of(rows)).train
    assert found is not None
    assert found.first == 5.0


def test_no_rows_no_figures():
    found = figures(History.of([]))
    assert (found.train, found.eval, found.best_eval_loss, found.task_types) == (
        None,
        None,
        None,
        (),
    )


def test_a_summary_takes_what_is_known_before_what_is_found():
    made = summarise(two_types(), **KNOWN, train_seconds=99.0, peak_bytes=7)
    assert (made.steps, made.first_loss, made.last_eval_loss) == (3, 2.0, 1.75)
    assert (made.train_seconds, made.peak_bytes, made.best_eval_step) == (99.0, 7, 2)


def pairs(step: int, records: int, tokens: int, loss: float, **metrics: float) -> MetricsRow:
    own = {"loss": loss, "tokens": tokens, "records": records, "metrics": metrics}
    return MetricsRow(
        step=step,
        epoch=step / 40,
        loss=loss,
        supervised_tokens=tokens,
        channels={"a/x": own},
        metrics=metrics,
    )


def test_metrics_are_means_by_records():
    """Of 40 rows, 5 % are 2: accuracy (0.5 * 1 + 1 * 3) / 4 at first, whatever the tokens."""
    rows = [
        pairs(s, 1 if s == 1 else 3, 90 if s == 1 else 1, 0.5, accuracy=0.5 if s == 1 else 1.0)
        for s in range(1, 41)
    ]
    found = figures(History.of(rows), "dpo")
    assert found.metrics == {"train": {"accuracy": Span(0.875, 1.0, 40)}, "eval": {}}
    assert found.task_types[0].metrics == found.metrics
    assert found.metric_names == ["accuracy"]


@pytest.mark.parametrize(("objective", "first"), [("nll", 3.7), ("dpo", 1.75)])
def test_a_loss_is_a_mean_over_what_it_is_a_mean_of(objective, first):
    """(4 * 90 + 1 * 10) / 100 by tokens, (4 * 1 + 1 * 3) / 4 by records."""
    rows = [
        pairs(s, 1 if s == 1 else 3, 90 if s == 1 else 10, 4.0 if s == 1 else 1.0)
        for s in range(1, 41)
    ]
    found = figures(History.of(rows), objective).train
    assert found is not None
    assert found.first == pytest.approx(first)


def test_a_metric_that_rows_lack_is_of_those_that_have_it():
    """A step without an answer with thumbs down has no margin."""
    rows = [
        pairs(1, 2, 9, 0.5, kl_baseline=0.0),
        pairs(2, 2, 9, 0.5, kl_baseline=0.5, margin=0.25),
        pairs(3, 2, 9, 0.5, kl_baseline=1.5),
    ]
    found = figures(History.of(rows), "kto").metrics["train"]
    assert found == {"kl_baseline": Span(0.0, 1.5, 3), "margin": Span(0.25, 0.25, 1)}


def test_perplexity_is_of_the_mean_loss():
    """Of 40 rows two at either end: e to the power of (2 * 30 + 4 * 10) / 40 = 2.5, not the mean
    of e^2 and e^4."""
    rows = [pairs(s, 1, 10 if s == 2 else 30, {1: 2.0, 2: 4.0}.get(s, 1.0)) for s in range(1, 41)]
    found = figures(History.of(rows), documents=True)
    (own,) = found.task_types
    for spans in (found.metrics, own.metrics):
        assert spans["train"]["perplexity"].first == pytest.approx(math.exp(2.5))
        assert spans["train"]["perplexity"].last == pytest.approx(math.e)
    assert figures(History.of(rows)).metric_names == []


def test_a_perplexity_that_rows_tell_is_taken_as_it_is():
    found = figures(History.of([pairs(1, 1, 9, 2.0, perplexity=8.0)]), documents=True)
    assert found.metrics["train"]["perplexity"] == Span(8.0, 8.0, 1)


def test_beside_an_nll_a_perplexity_is_of_its_mean():
    """As above, where the rows tell both: the mean nll of the first two is 2.5."""
    rows = [
        pairs(s, 1, 10 if s == 2 else 30, 9.0, nll=nll, perplexity=math.exp(nll))
        for s, nll in ((s, {1: 2.0, 2: 4.0}.get(s, 1.0)) for s in range(1, 41))
    ]
    found = figures(History.of(rows), "distil", documents=True)
    assert found.metrics["train"]["perplexity"].first == pytest.approx(math.exp(2.5))
    assert found.metrics["train"]["perplexity"].last == pytest.approx(math.e)


def test_a_loss_beyond_all_numbers_has_no_perplexity():
    assert figures(History.of([pairs(1, 1, 9, 1e4)]), documents=True).metric_names == []


def test_a_summary_has_the_metrics_of_both_ends():
    rows = [
        pairs(0, 4, 9, 0.7, accuracy=0.5).model_copy(update={"split": "eval"}),
        pairs(1, 4, 9, 0.7, accuracy=0.25, margin=0.0),
        pairs(2, 4, 9, 0.5, accuracy=1.0, margin=0.5),
        pairs(2, 4, 9, 0.6, accuracy=0.75).model_copy(update={"split": "eval"}),
    ]
    made = summarise(rows, **KNOWN, objective="dpo")
    assert made.objective == "dpo"
    assert made.first_metrics == {"accuracy": 0.25, "margin": 0.0}
    assert made.last_metrics == {"accuracy": 1.0, "margin": 0.5}
    assert (made.first_eval_metrics, made.last_eval_metrics) == (
        {"accuracy": 0.5},
        {"accuracy": 0.75},
    )
    assert made.more == {}
    assert summarise(rows, **KNOWN, documents=True).last_metrics["perplexity"] == math.exp(0.5)
