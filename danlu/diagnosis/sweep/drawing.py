"""Pages without a server: a table and plots in one HTML file, as sweep and squeeze write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from danlu.runs.curves import nice_ticks

WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 720, 300, 64, 36, 14
COLOURS = 8
"""That the style sheet names: --c0 to --c7."""


@dataclass(frozen=True)
class Curve:
    """Points of a plot.

    Attributes:
        name: In the legend; empty for none.
        points: x and y.
        dots: Draw dots, not a line.
        colour: Which of the style sheet's.
        dashed: Draw the line in dashes.
        hints: What is told of each dot; the name where there is none.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    dots: bool = False
    colour: int = 0
    dashed: bool = False
    hints: tuple[str, ...] = ()


def page(title: str, says: str, body: str) -> str:
    """Return a page that may be opened from anywhere."""
    style = resources.files("danlu.runs").joinpath("assets/report.css").read_text("utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f'<header class="top"><h1>{escape(title)}</h1><p>{escape(says)}</p></header>'
        f"<main>{body}</main></body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], best: int | None = None) -> str:
    """Return a table; the row ``best`` stands out."""
    cells = "".join(f"<th>{escape(one)}</th>" for one in head)
    lines = []
    for number, row in enumerate(rows):
        tag = "th" if number == best else "td"
        lines.append("<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in row) + "</tr>")
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def plot(
    curves: Sequence[Curve],
    x_name: str,
    y_name: str,
    *,
    log_x: bool = False,
    y_span: tuple[float, float] | None = None,
) -> str:
    """Return a figure.

    Args:
        curves: At least one point in all.
        x_name: Of the axis.
        y_name: Likewise.
        log_x: Equal ratios are equally far apart; every x is above 0.
        y_span: Lowest and highest y; None: as the points are.
    """
    across = math.log10 if log_x else float
    xs = [across(x) for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    (x_low, x_high), (y_low, y_high) = _span(xs), y_span or _span(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - 12)
        up = ABOVE + (y_high - y) / (y_high - y_low) * (HEIGHT - ABOVE - BELOW)
        return round(right, 1), round(up, 1)

    parts = []
    for tick in nice_ticks(y_low, y_high):
        x, y = place(x_low, tick)
        parts.append(
            f'<line x1="{x}" x2="{WIDTH - 12}" y1="{y}" y2="{y}" stroke="var(--grid)"/>'
            f'<text x="{x - 6}" y="{y + 4}" text-anchor="end" fill="var(--muted)">{tick:g}</text>'
        )
    for tick in nice_ticks(x_low, x_high):
        x, y = place(tick, y_low)
        text = f"{10**tick:.2g}" if log_x else f"{tick:g}"
        parts.append(
            f'<text x="{x}" y="{y + 16}" text-anchor="middle" fill="var(--muted)">{text}</text>'
        )
    for curve in curves:
        parts += _drawn(curve, [place(across(x), y) for x, y in curve.points])
    legend = " · ".join(
        f'<span style="color:var(--c{curve.colour})">{escape(curve.name)}</span>'
        for curve in curves
        if curve.name
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="12" role="img" '
        f'aria-label="{escape(y_name)} over {escape(x_name)}">{"".join(parts)}</svg>'
        f"<figcaption>{escape(y_name)} over {escape(x_name)}: {legend}</figcaption></figure>"
    )


def _drawn(curve: Curve, at: Sequence[tuple[float, float]]) -> list[str]:
    colour = f"var(--c{curve.colour})"
    if curve.dots:
        hints = curve.hints or (curve.name,) * len(at)
        return [
            f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}">'
            f"<title>{escape(hint)}</title></circle>"
            for (x, y), hint in zip(at, hints, strict=True)
        ]
    line = " ".join(f"{x},{y}" for x, y in at)
    dashes = ' stroke-dasharray="5 4"' if curve.dashed else ""
    return [
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dashes}>'
        f"<title>{escape(curve.name)}</title></polyline>"
    ]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    gap = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - gap, high + gap
