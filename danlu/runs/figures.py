"""The figures of a run: what its metrics come to, in all and per task type."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.runs.history import Column, History, Numbers
from danlu.runs.schema import MetricsRow, Split, Summary

EDGE_SHARE = 0.05
EDGE_ROWS = 10
"""The loss of one step is noise, and that of one task type in one step more so. The first and
the last training loss are means over this share of the rows at either end, and over no more
rows than this, so that the fall at the start of a long run is still seen."""
TOKEN_OBJECTIVES = ("nll", "distil")
"""Their losses and metrics are means over tokens; those of all others over records."""
PERPLEXITY, NLL = "perplexity", "nll"
MOST_NATS = 700.0
"""A float ends at e to the power of 709."""


@dataclass(frozen=True, slots=True)
class Span:
    """A loss or a metric at the start and at the end.

    Attributes:
        first: In its own unit: of ``nll`` nats per token.
        last: Likewise; the same as ``first`` if there is one row.
        rows: How many rows there are.
    """

    first: float
    last: float
    rows: int

    @property
    def change(self) -> float:
        """How much it moved; of a loss, negative is better."""
        return self.last - self.first


Spans = Mapping[Split, Mapping[str, Span]]
"""Per split and name, the metrics at the start and at the end."""


@dataclass(frozen=True, slots=True)
class TaskTypeFigures:
    """One task type of a run.

    Attributes:
        name: ``area/skill``.
        records: Records seen in training, once per epoch.
        tokens: Tokens trained, over all epochs.
        train: Training loss; None if there was no row.
        eval: Evaluation loss; None if there was no row.
        metrics: What else is told, per split and name.
    """

    name: str
    records: int
    tokens: int
    train: Span | None
    eval: Span | None
    metrics: Spans


@dataclass(frozen=True, slots=True)
class Figures:
    """A run's figures, from its metrics alone, so also of a run that is not finished.

    Attributes:
        step: The last step with a row.
        epoch: Passes over the data, as a fraction.
        unique_tokens: Tokens computed in training.
        supervised_tokens: Tokens trained.
        elapsed_s: Seconds of training.
        tokens_per_second: Median of the training rows; None without rows.
        train: Training loss; None without rows.
        eval: Evaluation loss; None without evaluations.
        best_eval_loss: The lowest one; None without evaluations.
        best_eval_step: The step that had it.
        task_types: By name.
        metrics: What else is told, per split and name.
    """

    step: int
    epoch: float
    unique_tokens: int
    supervised_tokens: int
    elapsed_s: float
    tokens_per_second: float | None
    train: Span | None
    eval: Span | None
    best_eval_loss: float | None
    best_eval_step: int | None
    task_types: tuple[TaskTypeFigures, ...]
    metrics: Spans

    @property
    def metric_names(self) -> list[str]:
        """What is told besides the loss, in all or of any task type, each name once."""
        spans = [self.metrics, *(task_type.metrics for task_type in self.task_types)]
        return list(dict.fromkeys(name for one in spans for split in one for name in one[split]))


def figures(history: History, objective: str = "nll", *, documents: bool = False) -> Figures:
    """Work out a run's figures.

    Args:
        history: The rows.
        objective: What is minimised; says whether its loss is a mean over tokens or records.
        documents: Whether plain text is learned: its perplexity, e to the power of the loss, is a
            metric too, if the rows do not tell it themselves.

    Example:
        >>> rows = [MetricsRow(step=step, epoch=0.5, loss=2.0 / step) for step in (1, 2)]
        >>> figures(History.of(rows)).train
        Span(first=2.0, last=1.0, rows=2)
    """
    evals = history.overall["eval"].column("loss")
    best = min(range(len(evals.values)), key=evals.values.__getitem__, default=None)
    speeds = history.tokens_per_second.values
    kind = _Kind(objective in TOKEN_OBJECTIVES, documents)
    return Figures(
        step=history.step,
        epoch=history.epoch,
        unique_tokens=history.unique_tokens,
        supervised_tokens=int(sum(history.overall["train"].tokens)),
        elapsed_s=history.elapsed_s,
        tokens_per_second=statistics.median(speeds) if speeds else None,
        train=_loss_span(history.overall["train"], "train", kind),
        eval=_loss_span(history.overall["eval"], "eval", kind),
        best_eval_loss=None if best is None else evals.values[best],
        best_eval_step=None if best is None else int(evals.steps[best]),
        task_types=tuple(_task_type(history, name, kind) for name in sorted(history.records)),
        metrics={
            split: _metric_spans(numbers, split, kind) for split, numbers in history.overall.items()
        },
    )


def perplexity(loss: float) -> float | None:
    """Return e to the power of a loss in nats; None where that is no number any more.

    Example:
        >>> perplexity(0.0), perplexity(1000.0)
        (1.0, None)
    """
    return math.exp(loss) if loss < MOST_NATS else None


def summarise(rows: Iterable[MetricsRow], *, documents: bool = False, **known: Any) -> Summary:
    """Make the summary of a run from its metrics and what only the loop knows.

    Args:
        rows: All rows of ``metrics.jsonl``.
        documents: As in ``figures``.
        known: ``name``, ``model``, ``method``, ``objective``, ``records``, and whatever else of
            ``Summary``; takes precedence over what the rows say.
    """
    found = figures(History.of(rows), known.get("objective") or "nll", documents=documents)
    from_rows = {
        "steps": found.step,
        "epochs": found.epoch,
        "unique_tokens": found.unique_tokens,
        "supervised_tokens": found.supervised_tokens,
        "train_seconds": found.elapsed_s,
        "tokens_per_second": found.tokens_per_second,
        "first_loss": found.train.first if found.train else None,
        "last_loss": found.train.last if found.train else None,
        "first_eval_loss": found.eval.first if found.eval else None,
        "last_eval_loss": found.eval.last if found.eval else None,
        "best_eval_loss": found.best_eval_loss,
        "best_eval_step": found.best_eval_step,
        "first_metrics": {name: span.first for name, span in found.metrics["train"].items()},
        "last_metrics": {name: span.last for name, span in found.metrics["train"].items()},
        "first_eval_metrics": {name: span.first for name, span in found.metrics["eval"].items()},
        "last_eval_metrics": {name: span.last for name, span in found.metrics["eval"].items()},
    }
    return Summary(**{**from_rows, **known})


# Inner -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """What must be known of a run to read its rows."""

    loss_per_token: bool
    documents: bool


def _task_type(history: History, name: str, kind: _Kind) -> TaskTypeFigures:
    found = {split: types.get(name, Numbers()) for split, types in history.task_types.items()}
    return TaskTypeFigures(
        name=name,
        records=history.records[name],
        tokens=int(sum(found["train"].tokens)),
        train=_loss_span(found["train"], "train", kind),
        eval=_loss_span(found["eval"], "eval", kind),
        metrics={split: _metric_spans(numbers, split, kind) for split, numbers in found.items()},
    )


def _loss_span(numbers: Numbers, split: Split, kind: _Kind) -> Span | None:
    column = numbers.column("loss")
    return _span(column, column.tokens if kind.loss_per_token else column.records, split)


def _metric_spans(numbers: Numbers, split: Split, kind: _Kind) -> dict[str, Span]:
    spans = {}
    for name in numbers.values:
        column = numbers.column(name)
        weights = column.tokens if kind.loss_per_token else column.records
        if name != "loss" and (span := _span(column, weights, split)):
            spans[name] = span
    loss = _loss_span(numbers, split, kind)
    if PERPLEXITY in spans:
        loss = spans.get(NLL)  # where the loss is a mixture
    elif not kind.documents:
        loss = None
    if loss is not None:
        # Of the mean loss: the mean of perplexities would be another, larger number.
        first, last = perplexity(loss.first), perplexity(loss.last)
        if first is not None and last is not None:
            spans[PERPLEXITY] = Span(first, last, loss.rows)
    return spans


def _span(column: Column, weights: Sequence[float], split: Split) -> Span | None:
    """Take the span of a column; an evaluation is no sample of the data, so one row will do."""
    values = column.values
    if not values:
        return None
    edge = 1
    if split == "train":
        edge = min(max(1, int(len(values) * EDGE_SHARE)), EDGE_ROWS)
    first, last = _mean(values[:edge], weights[:edge]), _mean(values[-edge:], weights[-edge:])
    return Span(first=first, last=last, rows=len(values))


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Average values by what stands behind them; plainly if nothing is known of that."""
    if sum(weights) == 0:
        return statistics.fmean(values)
    return statistics.fmean(values, weights=weights)
