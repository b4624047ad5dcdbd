"""What a reward model gives held-out answers, as histograms: each record's best, and the others."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.runs.curves import nice_gap
from danlu.runs.schema import ScoreRow

FEWEST_BARS = 8
MOST_BARS = 40


@dataclass(frozen=True, slots=True)
class Histogram:
    """Scores of the best answers against the others, of one task type or in all.

    Attributes:
        name: The task type; empty for all.
        best: How many of the best answers lie between each border and the next.
        others: How many of the others.
        best_mean: Mean score of the best; None if there are none.
        others_mean: Likewise.
        records: Records with answers of different rank.
        on_top: Those in which a best answer has a higher score than every other.
    """

    name: str
    best: tuple[int, ...]
    others: tuple[int, ...]
    best_mean: float | None
    others_mean: float | None
    records: int
    on_top: int

    def for_page(self) -> dict[str, Any]:
        """Return the histogram as the page's script reads it."""
        return {"name": self.name, "best": self.best, "others": self.others}


@dataclass(frozen=True, slots=True)
class Scores:
    """Histograms that share their borders, so that they can be compared.

    Attributes:
        borders: Ascending, one more than there are bars.
        overall: All task types together.
        task_types: By name.
    """

    borders: tuple[float, ...]
    overall: Histogram
    task_types: tuple[Histogram, ...]


def histograms(rows: Iterable[ScoreRow]) -> Scores | None:
    """Count the scores of a run; None where there are none.

    The best answers of a record are those of its least rank.

    Example:
        >>> rank_and_score = [(1, 0.9), (2, 0.1), (2, 0.3)]
        >>> found = histograms(
        ...     ScoreRow(record="r", task_type="a/b", response=k, rank=rank, score=score)
        ...     for k, (rank, score) in enumerate(rank_and_score)
        ... )
        >>> sum(found.overall.best), sum(found.overall.others), found.overall.on_top
        (1, 2, 1)
    """
    records: dict[tuple[str, str], list[ScoreRow]] = defaultdict(list)
    for row in rows:
        records[row.task_type, row.record].append(row)
    if not records:
        return None
    scores = [row.score for answers in records.values() for row in answers]
    bars = round(2 * len(scores) ** (1 / 3))  # Rice's rule; Lane, "Online Statistics", Histograms.
    bars = min(max(bars, FEWEST_BARS), MOST_BARS)
    borders = _borders(min(scores), max(scores), bars)
    by_type: dict[str, list[list[ScoreRow]]] = defaultdict(list)
    for (task_type, _), answers in records.items():
        by_type[task_type].append(answers)
    return Scores(
        borders=tuple(borders),
        overall=_histogram("", list(records.values()), borders),
        task_types=tuple(_histogram(name, by_type[name], borders) for name in sorted(by_type)),
    )


def _borders(low: float, high: float, bars: int) -> list[float]:
    """Return round numbers, equally far apart, that every score lies between."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return [low - 0.5, high + 0.5]
    gap = nice_gap(low, high, bars)
    first, last = math.floor(low / gap + 1e-9), math.ceil(high / gap - 1e-9)
    digits = max(0, 1 - math.floor(math.log10(gap)))
    return [round(index * gap, digits) for index in range(first, max(last, first + 1) + 1)]


def _histogram(
    name: str, records: Sequence[Sequence[ScoreRow]], borders: Sequence[float]
) -> Histogram:
    best: list[float] = []
    others: list[float] = []
    compared = on_top = 0
    for answers in records:
        first = min(row.rank for row in answers)
        own = [row.score for row in answers if row.rank == first]
        rest = [row.score for row in answers if row.rank != first]
        best += own
        others += rest
        if rest:
            compared += 1
            on_top += max(own) > max(rest)
    return Histogram(
        name=name,
        best=_counts(best, borders),
        others=_counts(others, borders),
        best_mean=statistics.fmean(best) if best else None,
        others_mean=statistics.fmean(others) if others else None,
        records=compared,
        on_top=on_top,
    )


def _counts(scores: Sequence[float], borders: Sequence[float]) -> tuple[int, ...]:
    """Count scores from each border to below the next; the last bar has its upper border too."""
    counts = [0] * (len(borders) - 1)
    for score in scores:
        # Rounding may leave a score a hair outside of the outer borders.
        counts[min(max(bisect_right(borders, score) - 1, 0), len(counts) - 1)] += 1
    return tuple(counts)
