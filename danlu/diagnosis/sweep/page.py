"""One page for a sweep or a scaling: a table and curves, in a file that needs no server."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from danlu.diagnosis.sweep.drawing import COLOURS, Curve, page, plot, table
from danlu.diagnosis.sweep.scaling import Line
from danlu.diagnosis.sweep.trials import Score

CURVE_POINTS = 60


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
    body = table(head, rows, best=0) + plot(curves, "step", "evaluation loss")
    return page(title, "Lowest evaluation loss first.", body)


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
    body = table(head, rows)
    for one in lines:
        low, high = one.records[0], 2 * one.records[-1]
        ratio = (high / low) ** (1 / CURVE_POINTS)
        law = [low * ratio**k for k in range(CURVE_POINTS + 1)]
        curves = [
            Curve("law", tuple((x, one.forecast.law.at(x)) for x in law), colour=1),
            Curve("measured", tuple(zip(map(float, one.records), one.losses, strict=True)), True),
            Curve("twice as many", ((float(high), one.forecast.then),), True, 2),
        ]
        body += f"<h2>{escape(one.name)}</h2>" + plot(curves, "training records", "loss")
    return page(title, says, body)
