"""``card.png``: the card as one picture, drawn as runs draw their loss."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from danlu.runs.curves import nice_ticks
from danlu.runs.fonts import Typeface
from danlu.runs.plot import FINE, GAP, GRID, HEADER, INK, MARGIN, MUTED, PAPER, WIDTH, Axes, Pen
from danlu.serving.latency.card import Interval, LatencyCard, Target
from danlu.serving.latency.show import formula

if TYPE_CHECKING:
    from collections.abc import Iterable

PANEL_HEIGHT = 480
LEGEND = 34
COLORS = ("#b8402a", "#1d6f80", "#7a5c99", "#5b7f3a", "#b07a1e", "#4a5a78")
TEXT = 15


@dataclass(frozen=True, slots=True)
class Series:
    """One server's points in a panel.

    Attributes:
        points: Places.
        line: A line through them; their own order if None.
        errors: Lower and upper ends at each point.
    """

    points: Sequence[tuple[float, float]]
    line: Sequence[tuple[float, float]] | None = None
    errors: Sequence[tuple[float, float]] | None = None


def card_png(card: LatencyCard) -> bytes:
    """Draw a card as a PNG: first token, time per token, tokens per second.

    Returns:
        The file's bytes.
    """
    from PIL import Image, ImageDraw

    height = HEADER + LEGEND * len(card.targets) + PANEL_HEIGHT + MARGIN
    image = Image.new("RGB", (WIDTH * FINE, height * FINE), PAPER)
    pen = Pen(ImageDraw.Draw(image), Typeface())
    pen.text(MARGIN, 36, "time = k·x + b", 30, INK)
    made = f"{card.made:%Y-%m-%d %H:%M} UTC, {card.machine}"
    pen.text(MARGIN, 76, pen.face.legible(made, f"{card.made:%Y-%m-%d}"), 17, MUTED)
    for index, one in enumerate(card.targets):
        y = HEADER + LEGEND * index
        pen.line([(MARGIN, y), (MARGIN + 26, y)], _color(index), 3)
        said = pen.face.legible(formula(one), f"server {index + 1}")
        pen.text(MARGIN + 36, y, pen.fitted(said, 17, WIDTH - 3 * MARGIN), 17, INK)
    top = HEADER + LEGEND * len(card.targets)
    width = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
    panels: tuple[tuple[str, str, Callable[[Target], Series], float], ...] = (
        ("Time to the first token, ms", "tokens of the prompt", _first, 1000.0),
        ("Time per further token, ms", "users at a time", _per_token, 1000.0),
        ("Tokens per second, all users", "users at a time", _throughput, 1.0),
    )
    for place, (title, below, series, scale) in enumerate(panels):
        left = MARGIN + place * (width + GAP)
        box = (left, top, left + width, top + PANEL_HEIGHT)
        _draw(pen, title, below, [_scaled(series(one), scale) for one in card.targets], box)
    buffer = io.BytesIO()
    image.reduce(FINE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _first(target: Target) -> Series:
    points = [(float(one.prompt_tokens), one.seconds) for one in target.first_tokens]
    fit = target.first_token_fit
    if fit is None or not points:
        return Series(points, line=())
    last = max(x for x, _ in points)
    ends = sorted({0.0, min(fit.knee_tokens.value, last), last})
    return Series(points, line=[(x, fit.seconds(x)) for x in ends])


def _per_token(target: Target) -> Series:
    found: list[tuple[int, Interval]] = [
        (one.concurrency, one.per_token_s) for one in target.levels if one.per_token_s
    ]
    return Series(
        [(float(users), one.value) for users, one in found],
        errors=[(one.low, one.high) for _, one in found],
    )


def _throughput(target: Target) -> Series:
    return Series([(float(one.concurrency), one.tokens_per_second) for one in target.levels])


def _scaled(series: Series, scale: float) -> Series:
    def each(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x, y * scale) for x, y in points]

    return Series(
        each(series.points),
        None if series.line is None else each(series.line),
        None
        if series.errors is None
        else [(low * scale, high * scale) for low, high in series.errors],
    )


def _draw(
    pen: Pen,
    title: str,
    below: str,
    shown: Sequence[Series],
    box: tuple[float, float, float, float],
) -> None:
    left, top, right, bottom = box
    pen.text(left, top + TEXT, title, TEXT + 2, INK)
    all_points = [point for one in shown for point in (*one.points, *(one.line or ()))]
    if not all_points:
        pen.text((left + right) / 2, (top + bottom) / 2, "not measured", TEXT, MUTED, "mm")
        return
    highs = [high for one in shown for _, high in one.errors or ()]
    axes = Axes(
        left=left + 56,
        top=top + 44,
        right=right - 12,
        bottom=bottom - 52,
        last_step=max(x for x, _ in all_points) * 1.03,
        low=0.0,
        high=(max([y for _, y in all_points] + highs) or 1.0) * 1.06,
    )
    for tick in nice_ticks(0.0, axes.high, 6):
        y = axes.place(0, tick)[1]
        pen.line([(axes.left, y), (axes.right, y)], GRID, 1)
        pen.text(axes.left - 8, y, f"{tick:g}", TEXT - 1, MUTED, "rm")
    for tick in nice_ticks(0.0, axes.last_step, 5):
        pen.text(axes.place(tick, 0)[0], axes.bottom + 16, f"{tick:g}", TEXT - 1, MUTED, "mm")
    pen.text((axes.left + axes.right) / 2, axes.bottom + 38, below, TEXT - 1, MUTED, "mm")
    for index, one in enumerate(shown):
        _draw_series(pen, axes, one, _color(index))


def _draw_series(pen: Pen, axes: Axes, series: Series, color: str) -> None:
    line = series.points if series.line is None else series.line
    if len(line) > 1:
        pen.line([axes.place(*point) for point in line], color, 2.2)
    for place, (x, y) in enumerate(series.points):
        if series.errors:
            low, high = series.errors[place]
            pen.line([axes.place(x, low), axes.place(x, high)], color, 1.6)
        pen.dot(*axes.place(x, y), 3.0, color)


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]
