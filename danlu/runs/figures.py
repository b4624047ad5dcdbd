"""The figures of a run: what its metrics come to, in all and per task type."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.runs.history import History, Losses
from danlu.runs.schema import MetricsRow, Split, Summary

EDGE_SHARE = 0.05
EDGE_ROWS = 10
"""The loss of one step is noise, and that of one task type in one step more so. The first and
the last training loss are means over this share of the rows at either end, and over no more
rows than this, so that the fall at the start of a long run is still seen."""


@dataclass(frozen=True, slots=True)
class Span:
    """A loss at the start and at the end.

    Attributes:
        first: In nats per token.
        last: In nats per token; the same as ``first`` if there is one row.
        rows: How many rows there are.
    """

    first: float
    last: float
    rows: int

    @property
    def change(self) -> float:
        """How much was gained (negative) or lost."""
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class TaskTypeFigures:
    """One task type of a run.

    Attributes:
        name: ``area/skill``.
        records: Records seen in training, once per epoch.
        tokens: Tokens trained, over all epochs.
        train: Training loss; None if there was no row.
        eval: Evaluation loss; None if there was no row.
    """

    name: str
    records: int
    tokens: int
    train: Span | None
    eval: Span | None


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


def figures(history: History) -> Figures:
    """Work out a run's figures.

    Example:
        >>> rows = [MetricsRow(step=step, epoch=0.5, loss=2.0 / step) for step in (1, 2)]
        >>> figures(History.of(rows)).train
        Span(first=2.0, last=1.0, rows=2)
    """
    evals = history.losses["eval"].loss
    best = min(range(len(evals.values)), key=evals.values.__getitem__, default=None)
    speeds = history.tokens_per_second.values
    return Figures(
        step=history.step,
        epoch=history.epoch,
        unique_tokens=history.unique_tokens,
        supervised_tokens=int(sum(history.losses["train"].tokens)),
        elapsed_s=history.elapsed_s,
        tokens_per_second=statistics.median(speeds) if speeds else None,
        train=_span(history.losses["train"], "train"),
        eval=_span(history.losses["eval"], "eval"),
        best_eval_loss=None if best is None else evals.values[best],
        best_eval_step=None if best is None else int(evals.steps[best]),
        task_types=tuple(_task_type(history, name) for name in sorted(history.records)),
    )


def summarise(rows: Iterable[MetricsRow], **known: Any) -> Summary:
    """Make the summary of a run from its metrics and what only the loop knows.

    Args:
        rows: All rows of ``metrics.jsonl``.
        known: ``name``, ``model``, ``method``, ``records``, and whatever else of ``Summary``;
            takes precedence over what the rows say.
    """
    found = figures(History.of(rows))
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
    }
    return Summary(**{**from_rows, **known})


def _task_type(history: History, name: str) -> TaskTypeFigures:
    train = history.task_types["train"].get(name)
    return TaskTypeFigures(
        name=name,
        records=history.records[name],
        tokens=int(sum(train.tokens)) if train else 0,
        train=_span(train, "train"),
        eval=_span(history.task_types["eval"].get(name), "eval"),
    )


def _span(losses: Losses | None, split: Split) -> Span | None:
    """Take the span of losses; an evaluation is no sample of the data, so one row will do."""
    if losses is None or not losses.tokens:
        return None
    values, tokens = losses.loss.values, losses.tokens
    edge = 1
    if split == "train":
        edge = min(max(1, int(len(values) * EDGE_SHARE)), EDGE_ROWS)
    first, last = _mean(values[:edge], tokens[:edge]), _mean(values[-edge:], tokens[-edge:])
    return Span(first=first, last=last, rows=len(values))


def _mean(values: Sequence[float], tokens: Sequence[float]) -> float:
    """Average losses by their tokens; plainly if none has any."""
    if sum(tokens) == 0:
        return statistics.fmean(values)
    return statistics.fmean(values, weights=tokens)
