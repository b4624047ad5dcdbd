"""Small plots, placed here and drawn by a template as SVG: no script, no style attribute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from danlu.runs.curves import nice_ticks

WIDTH, HEIGHT = 560, 280
LEFT, RIGHT, ABOVE, BELOW = 58, 14, 12, 40
COLOURS = 8
"""That the style sheet names."""
LOG_FROM = 8.0
"""An axis whose end is so many times its beginning is logarithmic, where that is allowed."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        name: In the legend; empty for none.
        points: x and y.
        line: Join them.
        dots: Mark them.
        dashed: For bars and laws.
        labels: Beside each point; empty for none.
        errors: Lower and upper end at each point; empty for none.
        colour: Which of the style sheet's; None: by its place.
    """

    name: str
    points: Sequence[Point]
    line: bool = True
    dots: bool = True
    dashed: bool = False
    labels: Sequence[str] = ()
    errors: Sequence[Point] = ()
    colour: int | None = None


@dataclass(frozen=True)
class Mark:
    """A dot, with its label and its interval's ends in pixels."""

    x: float
    y: float
    hint: str
    label: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Drawn:
    """A series in pixels.

    Attributes:
        name: In the legend.
        colour: Which of the style sheet's.
        line: ``points`` of a polyline; empty for none.
        dashed: Whether it is.
        marks: Its dots.
    """

    name: str
    colour: int
    line: str
    dashed: bool
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Plot:
    """A plot, to be drawn by ``diagnosis/plot.html``.

    Attributes:
        title: Above it.
        x_name: Below it.
        series: At least one point in all.
        log: Let x be logarithmic where it spans far and is above 0.
        y_span: Of the y axis; None: of the points.
        from_zero: Let y begin at 0.
    """

    title: str
    x_name: str
    series: Sequence[Series]
    log: bool = False
    y_span: Point | None = None
    from_zero: bool = False
    width: int = field(default=WIDTH, init=False)
    height: int = field(default=HEIGHT, init=False)

    @property
    def is_log(self) -> bool:
        """Whether x is logarithmic."""
        xs = [x for one in self.series for x, _ in one.points]
        return self.log and min(xs) > 0 and max(xs) / min(xs) >= LOG_FROM

    def drawn(self) -> list[Drawn]:
        """Return the series in pixels."""
        return [self._drawn(one, place) for place, one in enumerate(self.series)]

    def x_ticks(self) -> list[tuple[float, str]]:
        """Return places and words of the ticks below."""
        low, high = self._x_span()
        if self.is_log:
            first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
            ticks = [10.0**power for power in range(first, last + 1)]
            if len(ticks) < 2:
                ticks = sorted({x for one in self.series for x, _ in one.points})[:6]
        else:
            ticks = nice_ticks(low, high)
        return [(self._x(one), f"{one:g}") for one in ticks]

    def y_ticks(self) -> list[tuple[float, str]]:
        """Return places and words of the ticks at the left."""
        return [(self._y(one), f"{one:g}") for one in nice_ticks(*self._y_span())]

    def _drawn(self, series: Series, place: int) -> Drawn:
        at = [(self._x(x), self._y(y)) for x, y in series.points]
        marks = []
        for number, (x, y) in enumerate(at if series.dots else []):
            given = series.points[number]
            ends = series.errors[number] if series.errors else None
            marks.append(
                Mark(
                    x,
                    y,
                    f"{series.name}: {given[0]:g}, {given[1]:.4g}".lstrip(": "),
                    series.labels[number] if series.labels else "",
                    None if ends is None else self._y(ends[0]),
                    None if ends is None else self._y(ends[1]),
                )
            )
        line = " ".join(f"{x},{y}" for x, y in at) if series.line and len(at) > 1 else ""
        colour = place % COLOURS if series.colour is None else series.colour
        return Drawn(series.name, colour, line, series.dashed, marks)

    def _x_span(self) -> Point:
        xs = [x for one in self.series for x, _ in one.points]
        return _span([math.log10(x) for x in xs] if self.is_log else xs)

    def _y_span(self) -> Point:
        if self.y_span is not None:
            return self.y_span
        ys = [y for one in self.series for _, y in one.points]
        low, high = _span(ys + [end for one in self.series for pair in one.errors for end in pair])
        return (0.0, high) if self.from_zero else (low, high)

    def _x(self, x: float) -> float:
        low, high = self._x_span()
        value = math.log10(x) if self.is_log else x
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def _y(self, y: float) -> float:
        low, high = self._y_span()
        return round(ABOVE + (high - y) / (high - low) * (HEIGHT - ABOVE - BELOW), 1)


def _span(values: Sequence[float]) -> Point:
    """Return the ends of an axis, a little wider than its values.

    Example:
        >>> _span([1.0, 2.0]), _span([5.0])
        ((0.96, 2.04), (4.5, 5.5))
    """
    low, high = min(values), max(values)
    gap = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - gap, high + gap
