"""Danlu as a contender: ``danlu.train`` on a recipe, timed by the rows of its run directory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import danlu
from bench.child import Job, Outcome
from bench.rate import MatrixRate, measure_rate
from danlu.runs import RunDirectory
from danlu.training import references


def recipe_of(job: Job, runs_dir: str) -> danlu.Recipe:
    """Describe the job as a recipe; what it does not name is Danlu's default."""
    settings: dict[str, Any] = {
        "name": "danlu",
        "runs_dir": runs_dir,
        "model": {"path": job.model, "precision": "float32", "attention": job.attention},
        "data": {"train": [{"path": job.file, "format": "danlu"}]},
        "tuning": {"method": job.method},
        "objective": {"name": job.objective}
        | ({"reference": job.reference} if job.reference else {}),
        "training": {
            "epochs": 1,
            "batch_records": job.batch_records,
            "learning_rate": job.learning_rate,
            "schedule": "constant",
            "warmup_ratio": 0.0,
            "seed": job.seed,
            "device": "cpu",
        },
        "samples": {"from_data": 0},
    }
    return danlu.Recipe.model_validate(settings)


def train(job: Job, folder: Path) -> Outcome:
    """Train as ``danlu train`` does, to the saved model and the report."""
    rate = model_rate(job.model)
    with _timing_references() as spent:
        run = danlu.train(recipe_of(job, str(folder)), overwrite=True, progress=False)
    rows = list(RunDirectory.open(run.path).metrics())
    assert run.summary is not None
    assert run.summary.peak_bytes is not None
    ends = [0.0, *(row.elapsed_s for row in rows)]
    return Outcome(
        step_seconds=[end - begin for begin, end in pairwise(ends)],
        losses=[row.loss for row in rows],
        peak_bytes=run.summary.peak_bytes,
        rate=MatrixRate.best(rate, model_rate(job.model)),
        scoring_seconds=sum(spent),
    )


@contextmanager
def _timing_references() -> Iterator[list[float]]:
    """Note how long each computing of references takes, which no row of a run tells."""
    original, spent = references.precomputed, []

    def timed(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        values = original(*args, **options)
        spent.append(time.perf_counter() - began)
        return values

    references.precomputed = timed
    try:
        yield spent
    finally:
        references.precomputed = original


def model_rate(model: str) -> MatrixRate:
    """Measure the matrix rate at a model's shapes."""
    from danlu.models.load import load_config

    config = load_config(model)
    return measure_rate(config.hidden_size, config.intermediate_size, config.vocab_size)
