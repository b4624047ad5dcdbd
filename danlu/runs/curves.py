"""Curves fit to be looked at: few enough points, smoothed without lag, axes with round numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.runs.history import Column

MAX_POINTS = 800
"""Points per curve: more than a screen can tell apart in a chart."""
TASK_TYPE_POINTS = 12_000
"""Points of the curves of all task types together; keeps the page below a few megabytes."""
MIN_POINTS = 100


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve over steps, perhaps in buckets.

    Attributes:
        x: Steps, ascending; the middle of its bucket.
        y: Values; the mean of its bucket.
        low: The lowest value per bucket; empty where every point is a row of its own.
        high: The highest value per bucket, likewise.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def mapped(self, change: Callable[[float], float | None]) -> Curve:
        """Put every value through a rising function; points that it has no value for are left out.

        Example:
            >>> Curve((1, 2), (0.0, 1000.0)).mapped(lambda y: y + 1 if y < 10 else None)
            Curve(x=(1,), y=(1.0,), low=(), high=())
        """
        rows = []
        for step, *values in zip(self.x, self.y, *self._extremes(), strict=True):
            changed = [new for value in values if (new := change(value)) is not None]
            if len(changed) == len(values):
                rows.append((step, *changed))
        columns = list(zip(*rows, strict=True)) or [(), ()]
        return Curve(*columns)

    def _extremes(self) -> list[tuple[float, ...]]:
        return [self.low, self.high] if self.low else []

    def for_page(self) -> dict[str, Any]:
        """Return the curve as the page's script reads it, in digits that a chart can show."""
        columns = {"y": self.y, "low": self.low, "high": self.high}
        short = {name: [_short(value, 5) for value in column] for name, column in columns.items()}
        return {"x": [_short(step, 8) for step in self.x], **short}


def bucketed(column: Column, limit: int = MAX_POINTS) -> Curve | None:
    """Reduce a column to at most ``limit`` buckets, keeping each bucket's mean and extremes.

    A spike of one step stays visible, as its bucket's ``high``. Returns None without points.

    Example:
        >>> from array import array
        >>> bucketed(Column(array("d", [1, 2, 3, 4]), array("d", [5, 1, 4, 2])), limit=2)
        Curve(x=(1.5, 3.5), y=(3.0, 3.0), low=(1.0, 2.0), high=(5.0, 4.0))
    """
    steps, values = column.steps, column.values
    if not steps:
        return None
    if len(steps) <= limit:
        return Curve(tuple(steps), tuple(values))
    edges = [len(steps) * index // limit for index in range(limit + 1)]
    buckets = list(itertools.pairwise(edges))
    cut = [values[begin:end] for begin, end in buckets]
    return Curve(
        x=tuple((steps[begin] + steps[end - 1]) / 2 for begin, end in buckets),
        y=tuple(sum(bucket) / len(bucket) for bucket in cut),
        low=tuple(min(bucket) for bucket in cut),
        high=tuple(max(bucket) for bucket in cut),
    )


def task_type_limit(count: int) -> int:
    """Return how many points each of ``count`` task types may have, so that all stay few."""
    return max(MIN_POINTS, min(MAX_POINTS, TASK_TYPE_POINTS // max(1, count)))


def epoch_marks(epochs: Column) -> list[tuple[float, int]]:
    """Find where each epoch ends, as ``(step, epochs done)``, by interpolation between rows.

    Example:
        >>> from array import array
        >>> epoch_marks(Column(array("d", [3, 6, 8]), array("d", [0.75, 1.5, 2.0])))
        [(4.0, 1), (8.0, 2)]
    """
    marks: list[tuple[float, int]] = []
    step, epoch = 0.0, 0.0
    for next_step, next_epoch in zip(epochs.steps, epochs.values, strict=True):
        if next_epoch <= epoch:
            continue
        # A whole epoch may come as 0.9999999 from a division; it is over all the same.
        for done in range(math.floor(epoch + 1e-6) + 1, math.floor(next_epoch + 1e-6) + 1):
            share = min(1.0, (done - epoch) / (next_epoch - epoch))
            marks.append((step + share * (next_step - step), done))
        step, epoch = next_step, next_epoch
    return marks


def smoothed(x: Sequence[float], y: Sequence[float], width: float) -> list[float]:
    """Smooth by local linear regression with a Gaussian kernel.

    Unlike a moving average it does not lag, and unlike a centred one it is not bent at the ends,
    where a loss falls fastest and where it is read off (Fan and Gijbels 1996, section 2.3).
    ``assets/report.js`` has the same.

    Args:
        x: Ascending.
        y: As many.
        width: Standard deviation of the kernel, in the unit of ``x``; 0 changes nothing.

    Example:
        >>> [round(value, 3) for value in smoothed([0, 1, 2], [0.0, 1.0, 2.0], width=1.0)]
        [0.0, 1.0, 2.0]
    """
    if width <= 0 or len(x) < 3:
        return list(y)
    low, high = min(y), max(y)
    result = []
    begin = 0
    for centre, own in zip(x, y, strict=True):
        while x[begin] < centre - 3 * width:
            begin += 1
        s0 = s1 = s2 = t0 = t1 = 0.0
        for index in range(begin, len(x)):
            distance = x[index] - centre
            if distance > 3 * width:
                break
            weight = math.exp(-0.5 * (distance / width) ** 2)
            s0 += weight
            s1 += weight * distance
            s2 += weight * distance * distance
            t0 += weight * y[index]
            t1 += weight * distance * y[index]
        spread = s0 * s2 - s1 * s1
        value = (s2 * t0 - s1 * t1) / spread if spread > 1e-9 * s0 * s0 * width**2 else own
        result.append(min(high, max(low, value)))
    return result


def default_width(points: int, span: float) -> float:
    """Choose a smoothing width: none for a handful of points, else two to three of them, or 2 %.

    Example:
        >>> default_width(10, 10.0), default_width(50, 50.0), default_width(1000, 1000.0)
        (0.0, 2.5, 20.0)
    """
    if points < 12:
        return 0.0
    return span * min(0.1, max(0.02, 2.5 / points))


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about ``count`` of them, 1, 2 or 5 apart.

    Example:
        >>> nice_ticks(0.13, 2.4)
        [0.5, 1.0, 1.5, 2.0]
    """
    if not high > low:
        return [low]
    gap = nice_gap(low, high, count)
    first, last = math.ceil(low / gap - 1e-9), math.floor(high / gap + 1e-9)
    digits = max(0, -math.floor(math.log10(gap)))
    return [round(index * gap, digits) for index in range(first, last + 1)]


def nice_gap(low: float, high: float, count: int) -> float:
    """Return 1, 2 or 5 times a power of ten that goes about ``count`` times into a range.

    Example:
        >>> nice_gap(0.13, 2.4, 5)
        0.5
    """
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * 0.999)


def _short(value: float, digits: int) -> float:
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
