from __future__ import annotations

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
