"""``loss.png``: the loss in all and per task type as one picture, for a chat or a slide.

Between them stand the metrics that are read beside the loss, such as accuracy and margin.

Drawn with Pillow: a tenth of matplotlib's size and start-up time, and nothing here needs more.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from danlu.runs import wording
from danlu.runs.curves import (
    Curve,
    bucketed,
    default_width,
    epoch_marks,
    nice_ticks,
    smoothed,
)
from danlu.runs.figures import PERPLEXITY, Figures
from danlu.runs.fonts import Typeface
from danlu.runs.history import History, Numbers
from danlu.runs.schema import Split

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH = 1600
MARGIN = 48
HEADER = 104
MAIN_HEIGHT = 560
SMALL_HEIGHT = 250
GAP = 28
MAX_PANELS = 16
MAX_METRICS = 3
SMALL_POINTS = 300
FINE = 2
"""Everything is drawn this much larger and reduced, which smooths the edges."""

PAPER, INK, MUTED, GRID, MARK = "#ffffff", "#23211e", "#75706a", "#e9e4dc", "#b9b2a7"
TRAIN, TRAIN_FAINT, EVAL = "#b8402a", "#f0d3cc", "#1d6f80"


@dataclass(frozen=True, slots=True)
class Panel:
    """One set of axes: training curve, evaluation points, and the steps they share.

    Attributes:
        title: What is shown.
        train: The training loss or metric; None if there is none.
        eval: That of the evaluation; None if there is none.
        last_step: Right end of the x axis.
        last: The training value at the end, as figures have it.
        epochs: Ends of epochs, as ``(step, epochs done)``.
        mark: A value that gets a line, with the line's name.
        write: Writes a value.
    """

    title: str
    train: Curve | None
    eval: Curve | None
    last_step: float
    last: float | None = None
    epochs: Sequence[tuple[float, int]] = ()
    mark: tuple[float, str] | None = None
    write: Callable[[float], str] = wording.loss


def loss_png(
    history: History, found: Figures, objective: str, *, title: str, subtitle: str
) -> bytes:
    """Draw the loss as a PNG: in all above, one small panel per task type below.

    Args:
        history: The metrics; none at all gives a picture that says so.
        found: What they come to.
        objective: What is minimised.
        title: Name of the run.
        subtitle: Model, method, state.

    Returns:
        The file's bytes. A task type whose name no font here can write is called by its number,
        and the picture says so.
    """
    from PIL import Image, ImageDraw

    names = [figures.name for figures in found.task_types]
    shown = names[:MAX_PANELS] if len(names) > 1 else []
    metrics = _metric_panels(history, found, objective)
    columns = 2 if len(shown) == 2 else min((4, 3), key=lambda count: -len(shown) % count)
    lines = bool(metrics) + -(-len(shown) // columns)
    height = HEADER + MAIN_HEIGHT + lines * (SMALL_HEIGHT + GAP) + MARGIN
    image = Image.new("RGB", (WIDTH * FINE, height * FINE), PAPER)
    pen = Pen(ImageDraw.Draw(image), Typeface())
    pen.text(MARGIN, 30, pen.face.legible(title, "run"), 30, INK)
    pen.text(MARGIN, 70, pen.face.legible(subtitle, ""), 17, MUTED)
    main = Panel(
        wording.loss_title(objective),
        bucketed(history.overall["train"].column("loss")),
        bucketed(history.overall["eval"].column("loss")),
        found.step,
        found.train.last if found.train else None,
        epoch_marks(history.epochs),
    )
    _draw_panel(pen, main, (MARGIN, HEADER, WIDTH - MARGIN, HEADER + MAIN_HEIGHT), 17)
    if found.train:
        _draw_legend(pen, WIDTH - MARGIN, 76, found.eval is not None)
    top = HEADER + MAIN_HEIGHT + GAP
    if metrics:
        _draw_row(pen, metrics, top, max(2, len(metrics)))
        top += SMALL_HEIGHT + GAP
    suffix = ", loss" if metrics else ""
    panels = [
        Panel(
            pen.face.legible(one.name, f"task type {index}") + suffix,
            *_curves({split: types.get(one.name) for split, types in history.task_types.items()}),
            found.step,
            one.train.last if one.train else None,
        )
        for index, one in enumerate(found.task_types[: len(shown)], start=1)
    ]
    for first in range(0, len(panels), columns):
        _draw_row(pen, panels[first : first + columns], top, columns)
        top += SMALL_HEIGHT + GAP
    notes = []
    if len(names) > len(shown) > 0:
        notes.append(f"{len(names) - len(shown)} more task types are in report.html.")
    if pen.face.illegible:
        notes.append("No font here can write some of the names; report.html has them.")
    pen.text(MARGIN, height - 30, "  ".join(notes), 14, MUTED)
    buffer = io.BytesIO()
    image.reduce(FINE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _metric_panels(history: History, found: Figures, objective: str) -> list[Panel]:
    """Return a panel per metric that stands beside the loss, and says something else."""
    panels = []
    told = {*found.metrics["train"], *found.metrics["eval"]} - {PERPLEXITY}
    for name in wording.headlines(told)[:MAX_METRICS]:
        words = wording.metric(name, objective)
        last = found.metrics["train"].get(name)
        panels.append(
            Panel(
                f"{words.title}, {words.unit}" if words.unit else words.title,
                *_curves(history.overall, name),
                found.step,
                last.last if last else None,
                mark=words.mark,
                write=_plain,
            )
        )
    return panels


def _curves(
    numbers: Mapping[Split, Numbers | None], name: str = "loss"
) -> tuple[Curve | None, Curve | None]:
    """Return the small curves of one number, of training and evaluation."""
    train, evals = (
        bucketed(one.column(name), SMALL_POINTS) if one else None
        for one in (numbers["train"], numbers["eval"])
    )
    return train, evals


def _plain(value: float) -> str:
    """Write a metric with the minus that every font has."""
    return wording.metric_value(value).replace("−", "-")


def _draw_row(pen: Pen, panels: Sequence[Panel], top: float, columns: int) -> None:
    """Draw small panels side by side."""
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    for index, panel in enumerate(panels):
        left = MARGIN + index * (width + GAP)
        _draw_panel(pen, panel, (left, top, left + width, top + SMALL_HEIGHT), 14)


class Pen:
    """Draws in the picture's units on the enlarged canvas."""

    def __init__(self, draw: ImageDraw, face: Typeface) -> None:
        self.face = face
        self._draw = draw

    def text(
        self, x: float, y: float, text: str, size: int, color: str, anchor: str = "lm"
    ) -> None:
        """Write a line; ``anchor`` as in Pillow: ``l``, ``m`` or ``r``, then ``m`` for middle."""
        if text:
            font = self.face.font(text, size * FINE)
            self._draw.text((x * FINE, y * FINE), text, fill=color, font=font, anchor=anchor)

    def fitted(self, text: str, size: int, width: float) -> str:
        """Shorten a line in the middle until it fits."""
        short, keep = text, len(text)
        while keep > 4 and self.face.font(short, size * FINE).getlength(short) > width * FINE:
            keep -= 1
            short = f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}"
        return short

    def line(self, points: Sequence[tuple[float, float]], color: str, width: float) -> None:
        """Draw a line through points."""
        scaled = [(x * FINE, y * FINE) for x, y in points]
        self._draw.line(scaled, fill=color, width=max(1, round(width * FINE)), joint="curve")

    def band(
        self, low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]], color: str
    ) -> None:
        """Fill what lies between two lines."""
        edge = [*low, *reversed(high)]
        self._draw.polygon([(x * FINE, y * FINE) for x, y in edge], fill=color)

    def dot(self, x: float, y: float, radius: float, color: str) -> None:
        """Draw a dot with a paper-coloured rim."""
        for size, fill in ((radius + 1.5, PAPER), (radius, color)):
            box = [(x - size) * FINE, (y - size) * FINE, (x + size) * FINE, (y + size) * FINE]
            self._draw.ellipse(box, fill=fill)


@dataclass(frozen=True, slots=True)
class Axes:
    """From steps and losses to places in the picture."""

    left: float
    top: float
    right: float
    bottom: float
    last_step: float
    low: float
    high: float

    def place(self, step: float, value: float) -> tuple[float, float]:
        """Return the place of a point."""
        across = step / (self.last_step or 1)
        up = (value - self.low) / (self.high - self.low)
        return self.left + across * (self.right - self.left), self.bottom - up * (
            self.bottom - self.top
        )

    def line(self, steps: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
        """Return the places of many points."""
        return [self.place(step, value) for step, value in zip(steps, values, strict=True)]


def _draw_panel(pen: Pen, panel: Panel, box: tuple[float, float, float, float], size: int) -> None:
    left, top, right, bottom = box
    pen.text(left, top + size * 0.7, pen.fitted(panel.title, size, right - left), size, INK)
    curves = [found for found in (panel.train, panel.eval) if found is not None]
    if not curves:
        pen.text((left + right) / 2, (top + bottom) / 2, "no metrics yet", size, MUTED, "mm")
        return
    axes = _axes(curves, panel, box, size)
    for tick in nice_ticks(axes.low, axes.high, 7 if size > 15 else 4):
        y = axes.place(0, tick)[1]
        pen.line([(axes.left, y), (axes.right, y)], GRID, 1)
        pen.text(axes.left - 8, y, f"{tick:g}", size - 2, MUTED, "rm")
    steps = nice_ticks(0, panel.last_step, 8 if size > 15 else 3)
    for tick in (step for step in steps if step == int(step)):
        name = f"step {tick:,.0f}" if tick == steps[-1] and size > 15 else f"{tick:,.0f}"
        pen.text(axes.place(tick, axes.low)[0], axes.bottom + size, name, size - 2, MUTED, "mm")
    _draw_epochs(pen, axes, panel.epochs, size - 3)
    if panel.mark:
        value, name = panel.mark
        y = axes.place(0, value)[1]
        pen.line([(axes.left, y), (axes.right, y)], MARK, 1)
        pen.text(axes.right, y - size * 0.7, name, size - 2, MUTED, "rm")
    if panel.train:
        _draw_train(pen, axes, panel.train, 2.4 if size > 15 else 2.0)
    if panel.eval:
        points = axes.line(panel.eval.x, panel.eval.y)
        pen.line(points, EVAL, 1.6)
        for x, y in points if len(points) <= 60 else points[-1:]:
            pen.dot(x, y, 3.5 if size > 15 else 2.5, EVAL)
    _draw_last_values(pen, axes, panel, size - 1)


def _axes(
    curves: Sequence[Curve], panel: Panel, box: tuple[float, float, float, float], size: int
) -> Axes:
    left, top, right, bottom = box
    marks = [panel.mark[0]] if panel.mark else []
    low = min([*marks, *(min(found.low or found.y) for found in curves)])
    high = max([*marks, *(max(found.high or found.y) for found in curves)])
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    low = max(0.0, low - room) if low >= 0 else low - room
    return Axes(
        left=left + 3.2 * size,
        top=top + 2.2 * size,
        right=right - 3.6 * size,
        bottom=bottom - 2.0 * size,
        last_step=panel.last_step,
        low=low,
        high=high + room,
    )


def _draw_epochs(pen: Pen, axes: Axes, marks: Sequence[tuple[float, int]], size: int) -> None:
    every = max(1, -(-len(marks) // 12))
    for step, done in marks[every - 1 :: every]:
        x = axes.place(step, axes.low)[0]
        pen.line([(x, axes.top), (x, axes.bottom)], GRID, 1)
        pen.text(x - 6, axes.top + size, f"epoch {done}", size, MUTED, "rm")


def _draw_train(pen: Pen, axes: Axes, train: Curve, width: float) -> None:
    if train.low:
        pen.band(axes.line(train.x, train.low), axes.line(train.x, train.high), TRAIN_FAINT)
    elif len(train.x) > 1:
        pen.line(axes.line(train.x, train.y), TRAIN_FAINT, 1.4)
    smooth = smoothed(train.x, train.y, default_width(len(train.x), train.x[-1] - train.x[0]))
    pen.line(axes.line(train.x, smooth), TRAIN, width)
    if len(train.x) == 1:
        pen.dot(*axes.place(train.x[0], train.y[0]), 3, TRAIN)


def _draw_last_values(pen: Pen, axes: Axes, panel: Panel, size: int) -> None:
    """Write the last values where the axis has them, moved apart where they would overlap."""
    values = [(panel.last, TRAIN), (panel.eval.y[-1] if panel.eval else None, EVAL)]
    labels = [(axes.place(0, value)[1], panel.write(value), color)
              for value, color in values if value is not None]  # fmt: skip
    labels.sort()
    if len(labels) == 2 and labels[1][0] - labels[0][0] < size * 1.15:
        middle = (labels[0][0] + labels[1][0]) / 2
        upper, lower = labels
        labels = [(middle - size * 0.6, *upper[1:]), (middle + size * 0.6, *lower[1:])]
    for y, text, color in labels:
        pen.text(axes.right + 8, y, text, size, color)


def _draw_legend(pen: Pen, right: float, y: float, has_eval: bool) -> None:
    x = right - (250 if has_eval else 160)
    pen.line([(x, y), (x + 26, y)], TRAIN, 2.4)
    pen.text(x + 34, y, "train, smoothed", 15, INK)
    if has_eval:
        pen.line([(x + 168, y), (x + 194, y)], EVAL, 1.6)
        pen.dot(x + 181, y, 3.5, EVAL)
        pen.text(x + 202, y, "eval", 15, INK)
