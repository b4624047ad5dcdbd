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
from danlu.runs.figures import Figures, figures
from danlu.runs.history import Column, History
from danlu.runs.page import (
    banner,
    before_after,
    commands,
    drop_counts,
    sample_views,
    setting_views,
    subtitle,
    tiles,
)
from danlu.runs.schema import Resolved
from danlu.runs.wording import filters

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
    heading = f"{subtitle(run)}  ·  {run.state()}"
    files.write_atomically(run.loss_png_path, loss_png(history, title=run.name, subtitle=heading))
    files.write_atomically(run.report_path, render(run, history))
    return run.report_path, run.loss_png_path


def render(run: RunDirectory, history: History) -> str:
    """Return the page as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters.update(filters())
    resolved, summary, samples = run.resolved(), run.summary(), run.samples()
    found = figures(history)
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(_asset("report.html")).render(
        run=run,
        status=run.status(),
        state=run.state(),
        subtitle=subtitle(run),
        banner=banner(run, found, resolved),
        tiles=tiles(found, resolved, summary),
        checks=before_after(summary.more) if summary else [],
        figures=found,
        drops=drop_counts(run.dropped(), run.rejected()),
        samples=sample_views(samples[:MAX_SAMPLES]),
        sample_count=len(samples),
        settings=setting_views(resolved.recipe) if resolved else [],
        resolved=resolved,
        commands=commands(run),
        charts=chart_data(history, found, resolved),
        style=_asset("report.css"),
        script=script,
        script_digest=digest,
    )


def chart_data(history: History, found: Figures, resolved: Resolved | None) -> dict[str, Any]:
    """Return what the page's script draws; see ``assets/report.js`` for how."""
    by_size = sorted(found.task_types, key=lambda figures: -figures.tokens)
    shown = {figures.name for figures in by_size[:SHOWN_TYPES]}
    settings = resolved.recipe.get("training", {}) if resolved else {}
    limit = task_type_limit(len(found.task_types))
    rows = len(history.epochs.steps)
    return {
        "loss": {split: _columns(losses.loss) for split, losses in history.losses.items()},
        "learning_rate": _columns(history.learning_rate),
        "grad_norm": _columns(history.grad_norm),
        "tokens_per_second": _columns(history.tokens_per_second),
        "task_types": [
            {
                "name": figures.name,
                **{
                    split: _columns(types[figures.name].loss, limit)
                    for split, types in history.task_types.items()
                    if figures.name in types
                },
                "shown": figures.name in shown,
                "last_loss": figures.train.last if figures.train else None,
            }
            for figures in found.task_types
        ],
        "epochs": epoch_marks(history.epochs),
        "epochs_per_step": found.epoch / found.step if found.step else 0,
        "last_step": found.step,
        "last_loss": found.train.last if found.train else None,
        "max_grad_norm": settings.get("max_grad_norm") or None,
        "smoothing": default_width(rows, 1.0),
    }


def _columns(column: Column, limit: int = MAX_POINTS) -> dict[str, list[float]] | None:
    found = bucketed(column, limit)
    return found.for_page() if found else None


def _asset(name: str) -> str:
    return (resources.files("danlu.runs") / "assets" / name).read_text("utf-8")
