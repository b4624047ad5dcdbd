"""``report.html`` and ``loss.png``: a run on one page, whatever became of it.

The page is one file that asks nothing of any server: style, script and data stand in it, and its
content security policy lets nothing else run. All text of models and data is escaped by Jinja, and
the script writes text only as text.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from danlu.runs import files
from danlu.runs.curves import (
    MAX_POINTS,
    bucketed,
    default_width,
    epoch_marks,
    task_type_limit,
)
from danlu.runs.directory import RunDirectory
from danlu.runs.figures import PERPLEXITY, Figures, Span, Spans, figures, perplexity
from danlu.runs.found import found_in
from danlu.runs.history import Column, History, Numbers
from danlu.runs.metric_words import LOSS_NOTES
from danlu.runs.page import (
    banner,
    before_after,
    commands,
    drop_counts,
    metric_views,
    sample_views,
    score_views,
    setting_views,
    subtitle,
    tiles,
)
from danlu.runs.schema import Resolved
from danlu.runs.scores import Scores, histograms
from danlu.runs.wording import filters, headlines, in_order, loss_unit, metric

MAX_SAMPLES = 200
"""Samples on the page; all of them are in ``samples.jsonl``."""
SHOWN_TYPES = 8
"""Task types whose curves show at first: as many as there are colours to tell them apart."""


def write_report(run_dir: Path) -> tuple[Path, Path]:
    """Write ``report.html`` and ``loss.png`` into a run directory.

    Works for a run in any state: not begun, running, interrupted, failed or finished.

    Args:
        run_dir: The run directory.

    Returns:
        The paths of the page and the picture.

    Raises:
        RunError: If there is no run, or one of its files is broken.
    """
    from danlu.runs.plot import loss_png

    run = RunDirectory.open(run_dir)
    history = History.of(run.metrics())
    resolved = run.resolved()
    objective = resolved.objective if resolved else "nll"
    found = figures(history, objective, documents=resolved is not None and resolved.documents)
    heading = f"{subtitle(run)}  ·  {run.state()}"
    picture = loss_png(history, found, objective, title=run.name, subtitle=heading)
    files.write_atomically(run.loss_png_path, picture)
    files.write_atomically(run.report_path, render(run, history, found))
    return run.report_path, run.loss_png_path


def render(run: RunDirectory, history: History, found: Figures) -> str:
    """Return the page as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters.update(filters())
    resolved, summary, samples = run.resolved(), run.summary(), run.samples()
    objective = resolved.objective if resolved else "nll"
    scores = histograms(run.scores())
    faults = found_in(run.path)
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(_asset("report.html")).render(
        run=run,
        status=run.status(),
        state=run.state(),
        subtitle=subtitle(run),
        banner=banner(run, found, resolved),
        tiles=tiles(found, resolved, summary),
        metrics=metric_views(found, objective),
        columns=[(name, metric(name, objective)) for name in headlines(found.metric_names)],
        scores=score_views(scores),
        scored_types=len(scores.task_types) if scores else 0,
        loss_unit=loss_unit(objective),
        loss_note=LOSS_NOTES.get(objective, ""),
        checks=before_after(summary.more) if summary else [],
        figures=found,
        faults=faults,
        drops=drop_counts(run.dropped(), run.rejected()),
        samples=sample_views(samples[:MAX_SAMPLES]),
        sample_count=len(samples),
        settings=setting_views(resolved.recipe) if resolved else [],
        resolved=resolved,
        commands=commands(run),
        charts={**chart_data(history, found, resolved, scores), "marks": faults.marks},
        style=_asset("report.css"),
        script=script,
        script_digest=digest,
    )


def chart_data(
    history: History, found: Figures, resolved: Resolved | None, scores: Scores | None = None
) -> dict[str, Any]:
    """Return what the page's script draws; see ``assets/report.js`` for how."""
    by_size = sorted(found.task_types, key=lambda figures: -figures.tokens)
    shown = {figures.name for figures in by_size[:SHOWN_TYPES]}
    settings = resolved.recipe.get("training", {}) if resolved else {}
    objective = resolved.objective if resolved else "nll"
    names = in_order(found.metric_names)
    limit = task_type_limit(len(found.task_types) * max(1, len(names)))
    rows = len(history.epochs.steps)
    return {
        "task_types": [
            {"name": figures.name, "shown": figures.name in shown} for figures in found.task_types
        ],
        "loss": _number(history, found, "loss", task_type_limit(len(found.task_types))),
        "metrics": [
            {**_number(history, found, name, limit), **_look(name, objective)} for name in names
        ],
        "scores": {
            "borders": scores.borders,
            "panels": [one.for_page() for one in (scores.overall, *scores.task_types)],
        }
        if scores
        else None,
        "learning_rate": _columns(history.learning_rate),
        "grad_norm": _columns(history.grad_norm),
        "tokens_per_second": _columns(history.tokens_per_second),
        "epochs": epoch_marks(history.epochs),
        "epochs_per_step": found.epoch / found.step if found.step else 0,
        "last_step": found.step,
        "max_grad_norm": settings.get("max_grad_norm") or None,
        "smoothing": default_width(rows, 1.0),
    }


def _number(history: History, found: Figures, name: str, limit: int) -> dict[str, Any]:
    """Return the curves of one number: in all, and per task type in their order."""

    def curves(numbers: dict[Any, Numbers | None], most: int) -> dict[str, Any]:
        return {split: _curve(one, name, most) for split, one in numbers.items()}

    def last(loss: Span | None, metrics: Spans) -> float | None:
        span = loss if name == "loss" else metrics["train"].get(name)
        return span.last if span else None

    types = history.task_types
    return {
        **curves(dict(history.overall), MAX_POINTS),
        "last": last(found.train, found.metrics),
        "types": [
            {
                **curves({split: types[split].get(one.name) for split in types}, limit),
                "last": last(one.train, one.metrics),
            }
            for one in found.task_types
        ],
    }


def _curve(numbers: Numbers | None, name: str, limit: int) -> dict[str, list[float]] | None:
    """Reduce one number to what the page draws; perplexity is made of the loss if need be."""
    if numbers is None:
        return None
    if name == PERPLEXITY and name not in numbers.values:
        curve = bucketed(numbers.column("loss"), limit)
        return curve.mapped(perplexity).for_page() if curve else None
    return _columns(numbers.column(name), limit)


def _look(name: str, objective: str) -> dict[str, Any]:
    """Return what a metric's chart must know of it."""
    words = metric(name, objective)
    look = {"title": words.title, "mark": words.mark, "limits": words.limits}
    return {**look, "log": name == PERPLEXITY}


def _columns(column: Column, limit: int = MAX_POINTS) -> dict[str, list[float]] | None:
    found = bucketed(column, limit)
    return found.for_page() if found else None


def _asset(name: str) -> str:
    return (resources.files("danlu.runs") / "assets" / name).read_text("utf-8")
