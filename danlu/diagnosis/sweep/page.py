"""One page for a sweep or a scaling: a table and curves, in a file that needs no server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from danlu.diagnosis.sweep.scaling import Line
from danlu.diagnosis.sweep.trials import Score
from danlu.runs.curves import nice_ticks

WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 720, 300, 64, 36, 14
COLOURS = 8
"""That the style sheet names: --c0 to --c7."""
CURVE_POINTS = 60


@dataclass(frozen=True)
class Curve:
    """Points of a plot.

    Attributes:
        name: In the legend; empty for none.
        points: x and y.
        dots: Draw dots, not a line.
        colour: Which of the style sheet's.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    dots: bool = False
    colour: int = 0


def sweep_page(title: str, scores: Sequence[Score]) -> str:
    """Compare trials: losses per task type, and the curves of the evaluation loss."""
    ranked = sorted(scores, key=lambda one: one.loss)
    keys = list(ranked[0].trial.label)
    types = sorted({name for one in ranked for name in one.task_types})
    head = [*keys, "loss", "at step", "minutes", *types]
    rows = [
        [
            *(one.trial.label[key] for key in keys),
            f"{one.loss:.4f}",
            str(one.step),
            f"{one.seconds / 60:.1f}",
            *(f"{one.task_types[name]:.4f}" if name in one.task_types else "" for name in types),
        ]
        for one in ranked
    ]
    curves = [
        Curve(one.trial.recipe.name, tuple((float(x), y) for x, y in one.curve), colour=k % COLOURS)
        for k, one in enumerate(ranked)
    ]
    body = _table(head, rows, best=0) + _plot(curves, "step", "evaluation loss")
    return _page(title, "Lowest evaluation loss first.", body)


def scaling_page(title: str, lines: Sequence[Line], says: str) -> str:
    """Show the loss over the amount of data, the law through it, and twice as much."""
    head = ["task type", "records", "losses", "with twice as many", "gain", "90 % interval", "more"]
    rows = [
        [
            one.name,
            ", ".join(f"{count:,}" for count in one.records),
            ", ".join(f"{loss:.3f}" for loss in one.losses),
            f"{one.forecast.then:.3f}",
            f"{one.forecast.gain:.3f}",
            f"{one.forecast.low:.3f} to {one.forecast.high:.3f}",
            one.forecast.answer,
        ]
        for one in lines
    ]
    body = _table(head, rows)
    for one in lines:
        low, high = one.records[0], 2 * one.records[-1]
        ratio = (high / low) ** (1 / CURVE_POINTS)
        law = [low * ratio**k for k in range(CURVE_POINTS + 1)]
        curves = [
            Curve("law", tuple((x, one.forecast.law.at(x)) for x in law), colour=1),
            Curve("measured", tuple(zip(map(float, one.records), one.losses, strict=True)), True),
            Curve("twice as many", ((float(high), one.forecast.then),), True, 2),
        ]
        body += f"<h2>{escape(one.name)}</h2>" + _plot(curves, "training records", "loss")
    return _page(title, says, body)


def _page(title: str, says: str, body: str) -> str:
    style = resources.files("danlu.runs").joinpath("assets/report.css").read_text("utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f'<header class="top"><h1>{escape(title)}</h1><p>{escape(says)}</p></header>'
        f"<main>{body}</main></body></html>\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], best: int | None = None) -> str:
    cells = "".join(f"<th>{escape(one)}</th>" for one in head)
    lines = []
    for number, row in enumerate(rows):
        tag = "th" if number == best else "td"
        lines.append("<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in row) + "</tr>")
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _plot(curves: Sequence[Curve], x_name: str, y_name: str) -> str:
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    (x_low, x_high), (y_low, y_high) = _span(xs), _span(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - 12)
        up = ABOVE + (y_high - y) / (y_high - y_low) * (HEIGHT - ABOVE - BELOW)
        return round(across, 1), round(up, 1)

    parts = []
    for tick in nice_ticks(y_low, y_high):
        x, y = place(x_low, tick)
        parts.append(
            f'<line x1="{x}" x2="{WIDTH - 12}" y1="{y}" y2="{y}" stroke="var(--grid)"/>'
            f'<text x="{x - 6}" y="{y + 4}" text-anchor="end" fill="var(--muted)">{tick:g}</text>'
        )
    for tick in nice_ticks(x_low, x_high):
        x, y = place(tick, y_low)
        parts.append(
            f'<text x="{x}" y="{y + 16}" text-anchor="middle" fill="var(--muted)">{tick:g}</text>'
        )
    for curve in curves:
        colour = f"var(--c{curve.colour})"
        at = [place(x, y) for x, y in curve.points]
        hint = f"<title>{escape(curve.name)}</title>"
        if curve.dots:
            parts += [
                f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}">{hint}</circle>' for x, y in at
            ]
        else:
            line = " ".join(f"{x},{y}" for x, y in at)
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2">{hint}'
                "</polyline>"
            )
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


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    gap = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - gap, high + gap
