"""Runs and evaluations made up on the spot: what ``danlu train`` and ``danlu eval`` would write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.schema import (
    AnswerRow,
    EvalSummary,
    Evaluation,
    Failure,
    Item,
    ModelAsked,
    ScoredAnswer,
    TypeStakes,
)
from danlu.runs import ChannelMetrics, Environment, MetricsRow, Resolved, RunDirectory, Summary

Answer = tuple[str, float | None]
"""What was said, and its score."""


def write_evaluation(
    path: Path,
    model: str,
    answers: Mapping[str, Sequence[Answer | Sequence[Answer]]],
    *,
    suite: str = "tasks",
    stakes: Mapping[str, TypeStakes] | None = None,
    prompts: Mapping[str, Sequence[str]] | None = None,
    started: int = 1,
    finished: bool = True,
    run: str | None = None,
    clusters: int = 0,
    address: str | None = None,
) -> Path:
    """Write an evaluation: by task type one answer, or several samples, per prompt."""
    types = {name: (stakes or {}).get(name, TypeStakes(scorer="exact")) for name in answers}
    samples = max(len(_samples(one)) for some in answers.values() for one in some)
    evaluation = Evaluation(
        suite=suite,
        suite_fingerprint=suite,
        model=ModelAsked(name=model, fingerprint=model, run=run, address=address),
        sampling={"greedy": samples == 1, "max_new_tokens": 32},
        samples=samples,
        seeds=tuple(range(samples)),
        task_types=types,
        versions={},
        started_at=datetime(2026, 1, started, tzinfo=UTC),
    )
    items, said, scores = [], [], []
    for name, some in answers.items():
        for k, one in enumerate(some):
            item = f"{name}-{k}"
            asked = prompts[name][k] if prompts else f"{name} {k}？"
            items.append(
                Item(
                    id=item,
                    task_type=name,
                    messages=({"role": "user", "content": asked},),
                    reference="right",
                    cluster=str(k // clusters) if clusters else None,
                )
            )
            for sample, (text, score) in enumerate(_samples(one)):
                failure = None
                if score is None:
                    failure = Failure(kind="not_read", message="it gives no label")
                said.append(AnswerRow(item=item, sample=sample, seed=sample, text=text))
                scores.append(
                    ScoredAnswer(
                        item=item,
                        task_type=name,
                        sample=sample,
                        scorer=types[name].scorer,
                        value=score,
                        failure=failure,
                    )
                )
    with EvalDirectory.create(path, evaluation, items) as directory:
        directory.append_answers(said)
        directory.write_scores(scores)
        if finished:
            summary = EvalSummary(suite=suite, model=model, score=None, task_types={}, seconds=1)
            directory.finish(summary)
    return path


def _samples(one: Answer | Sequence[Answer]) -> Sequence[Answer]:
    return [one] if isinstance(one[0], str) else one  # type: ignore[list-item,return-value]


def right_or_wrong(right: int, n: int = 60, *, first: int = 0) -> list[Answer]:
    """Answers of which some are right, those from ``first`` on."""
    return [("right", 1.0) if first <= k < first + right else ("wrong", 0.0) for k in range(n)]


def write_run(
    path: Path,
    records: Iterable[Mapping[str, Any]],
    *,
    base: str = "builtin:smollm2-135m-instruct",
    losses: Mapping[str, float] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write a finished run on a file of records (``prompt``, ``completion``, ``task_type``)."""
    rows = [dict(one) for one in records]
    data = path.parent / f"{path.name}.jsonl"
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["task_type"]] = counts.get(row["task_type"], 0) + 1
    recipe = {
        "name": path.name,
        "model": {"path": base},
        "data": {"train": [{"path": str(data)}], "eval_share": 0.0},
        "sequences": {"weighting": "token"},
        "training": {"learning_rate": 2e-4, "epochs": 1.0, **(settings or {})},
    }
    environment = Environment(versions={}, platform="Linux", cpu_count=2)
    with RunDirectory.create(path) as run:
        run.write_resolved(Resolved(recipe=recipe, environment=environment, records=counts))
        channels = {
            name: ChannelMetrics(
                loss=(losses or {}).get(name, 0.5), tokens=4 * count, records=count
            )
            for name, count in counts.items()
        }
        tokens = sum(one.tokens for one in channels.values())
        run.append_metrics(
            MetricsRow(step=1, epoch=1, loss=0.5, supervised_tokens=tokens, channels=channels)
        )
        run.finish(
            Summary(name=path.name, model=base, method="lora", steps=1, epochs=1, records=len(rows),
                    train_seconds=1)
        )  # fmt: skip
    return path
