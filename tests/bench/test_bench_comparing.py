"""The rows of the statistics benchmark, and that it measures what it says."""

from __future__ import annotations

from bench.cases import (
    STATISTICS_RESAMPLES,
    STATISTICS_ROWS,
    STATISTICS_SECONDS,
    STATISTICS_TASK_TYPES,
)
from bench.comparing import KINDS, measure_statistics, scored_rows


def test_goals() -> None:
    assert (STATISTICS_ROWS, STATISTICS_TASK_TYPES) == (100_000, 60)
    assert (STATISTICS_RESAMPLES, STATISTICS_SECONDS) == (10_000, 20.0)


def test_the_rows_are_of_three_kinds() -> None:
    a, b = scored_rows(600, 6)
    assert (len(a), len({row.prompt for row in a})) == (600, 600)
    assert (a, b) == scored_rows(600, 6)
    values = [{row.score for row in a if row.task_type.endswith(f"skill{k}")} for k in range(3)]
    assert values[0] == {0.0, 1.0}
    assert len(values[1]) == len(values[2]) == 100
    assert len({row.cluster for row in a if row.task_type.endswith("skill2")}) == 20
    assert len(KINDS) == 3


def test_it_runs_small() -> None:
    said: list[str] = []
    result = measure_statistics(said.append, rows=300, task_types=6, resamples=100)
    assert result.details["task_types"] == 6
    assert result.goals[0].met
    assert "300 rows of each version" in said[0]
