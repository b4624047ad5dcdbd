"""Statistics of a large comparison: CPU seconds of everything between scores and verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bench.cases import (
    SEED,
    STATISTICS,
    STATISTICS_RESAMPLES,
    STATISTICS_ROWS,
    STATISTICS_SECONDS,
    STATISTICS_TASK_TYPES,
)
from bench.results import Goal, Result
from danlu.evaluation.compare import compare
from danlu.evaluation.comparison import CompareSettings
from danlu.evaluation.rows import ScoredRow

KINDS = ("right or wrong", "shades", "shades in documents")
"""Of the scores, by turns: McNemar and Tango; sign flips and bootstrap; the same by clusters."""
DOCUMENT_PROMPTS = 5
PEER_TASK_TYPES = 3
"""Task types, one of each kind, that SciPy goes through; its time for all is taken from them."""


def scored_rows(
    rows: int, task_types: int, seed: int = SEED
) -> tuple[list[ScoredRow], list[ScoredRow]]:
    """Make the rows of two versions, at least so many of each."""
    rng = np.random.default_rng(seed)
    a: list[ScoredRow] = []
    b: list[ScoredRow] = []
    each = -(-rows // task_types)
    for number in range(task_types):
        name, kind = f"area{number % 12}/skill{number}", KINDS[number % len(KINDS)]
        first = rng.random(each)
        second = np.where(rng.random(each) < 0.3, rng.random(each), first)
        if kind == "right or wrong":
            first, second = (first < 0.7).astype(float), (second < 0.7).astype(float)
        for k in range(each):
            prompt = f"{number} {k}"
            in_documents = kind.endswith("documents")
            document = f"{number} {k // DOCUMENT_PROMPTS}" if in_documents else None
            a.append(ScoredRow(prompt, name, float(first[k]), document))
            b.append(ScoredRow(prompt, name, float(second[k]), document))
    return a, b


def scipy_seconds(a: list[ScoredRow], b: list[ScoredRow], resamples: int) -> float:
    """Return SciPy's seconds for the bootstrap and the sign flips of one task type of each kind."""
    from scipy import stats

    scores: dict[str, list[float]] = {}
    for one, other in zip(a, b, strict=True):
        scores.setdefault(one.task_type, []).append((other.score or 0.0) - (one.score or 0.0))
    began = time.perf_counter()
    for values in list(scores.values())[:PEER_TASK_TYPES]:
        differences = np.array(values)
        rng = np.random.default_rng(SEED)
        stats.bootstrap(
            (differences,), np.mean, n_resamples=resamples, method="percentile", rng=rng,
            batch=500,
        )  # fmt: skip
        stats.permutation_test(
            (differences, np.zeros(len(differences))),
            lambda one, other, axis: np.mean(one - other, axis=axis),
            permutation_type="samples",
            n_resamples=resamples,
            vectorized=True,
            batch=500,
            rng=rng,
        )
    return time.perf_counter() - began


def measure_statistics(
    say: Callable[[str], None],
    rows: int = STATISTICS_ROWS,
    task_types: int = STATISTICS_TASK_TYPES,
    resamples: int = STATISTICS_RESAMPLES,
) -> Result:
    """Compare two versions; beside SciPy's bootstrap and permutation test."""
    a, b = scored_rows(rows, task_types)
    began, wall = time.process_time(), time.perf_counter()
    found = compare(a, b, settings=CompareSettings(resamples=resamples))
    cpu_seconds, seconds = time.process_time() - began, time.perf_counter() - wall
    say(
        f"{STATISTICS}: {len(a)} rows of each version, {seconds:.2f} s, "
        f"{cpu_seconds:.2f} CPU seconds"
    )
    peer_seconds = scipy_seconds(a, b, resamples) * task_types / PEER_TASK_TYPES
    return Result(
        name=STATISTICS,
        unit="prompts per second",
        danlu=(len(a)) / seconds,
        peer=(len(a)) / peer_seconds,
        ratio=peer_seconds / seconds,
        limit_fraction=None,
        torch_limit_fraction=None,
        peak_bytes=None,
        peer_peak_bytes=None,
        goals=(Goal("seconds", seconds, STATISTICS_SECONDS, "at most"),),
        details={
            "rows_of_each_version": len(a),
            "task_types": len(found.task_types),
            "kinds": list(KINDS),
            "resamples": resamples,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "peer_name": "SciPy (bootstrap and permutation_test, without clusters or areas)",
            "peer_seconds": peer_seconds,
            "peer_extrapolated_from_task_types": PEER_TASK_TYPES,
        },
    )
