"""What a squeeze leaves: a page, its figures, the recipe to use, and a finding in the run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from danlu.config.load import save_recipe
from danlu.diagnosis.commands import told
from danlu.diagnosis.diagnose import rewrite_report
from danlu.diagnosis.squeeze.page import squeeze_page
from danlu.diagnosis.squeeze.scores import Scores
from danlu.diagnosis.squeeze.squeeze import Squeezed, Tried
from danlu.diagnosis.squeeze.telling import figures_of, finding_of
from danlu.runs import RunDirectory, files
from danlu.runs.findings import Finding, ProbeReport, write_probe

PROBE = "squeeze"
PAGE, FIGURES, RECIPE = "squeeze.html", "squeeze.json", "squeezed.yaml"


def write_squeeze(found: Squeezed, source: str, command: str) -> tuple[dict[str, Any], ProbeReport]:
    """Write everything; return what ``squeeze.json`` says, and the report.

    Args:
        found: At least one trial was measured.
        source: Where the target's questions are from.
        command: What to type to go on, or to see it again.

    Raises:
        ValueError: If nothing was measured.
    """
    folder = found.plan.folder
    finding = finding_of(found, str(folder))
    best = found.best
    recipe = folder / RECIPE
    if best is not None and best.setting is not None:
        save_recipe(found.plan.to_use(best.setting), recipe)
    else:
        recipe.unlink(missing_ok=True)  # of an earlier squeeze, with other bars
    shown = best or found.tried[-1]
    data = found.plan.recipe.data.train[0].path
    (finding,) = told([finding], str(shown.trial.run), data)
    rows = figures(found, source, finding)
    text = json.dumps(rows, ensure_ascii=False, indent=2)
    files.write_atomically(folder / FIGURES, text + "\n")
    html = squeeze_page(f"Squeeze {folder.name}", found, finding, source)
    files.write_atomically(folder / PAGE, html)
    report = ProbeReport(
        probe=PROBE,
        made_at=datetime.now(UTC),
        settings=_wish(found),
        findings=(finding,),
        figures={"page": str(folder / PAGE), "runs": rows["runs"]},
        command=command,
    )
    write_probe(shown.trial.run, report)
    rewrite_report(RunDirectory(shown.trial.run))
    return rows, report


def figures(found: Squeezed, source: str, finding: Finding) -> dict[str, Any]:
    """Return what was found as JSON has it."""
    assert found.before is not None
    best = found.best
    return {
        **_wish(found),
        "outcome": found.outcome,
        "says": finding.says,
        "confidence": finding.confidence,
        "best": None if best is None else best.setting,
        "recipe": None if best is None else str(found.plan.folder / RECIPE),
        "page": str(found.plan.folder / PAGE),
        "questions": source,
        "before": _row(found.before, found.before),
        "runs": [_tried(one, found.before) for one in found.tried],
    }


def _wish(found: Squeezed) -> dict[str, Any]:
    wish, knob = found.plan.wish, found.plan.knob
    return {
        "task": wish.task,
        "over": wish.over,
        "learned": wish.goal,
        "margin": wish.margin,
        "low": knob.low,
        "high": knob.high,
        "suites": list(wish.suites),
    }


def _tried(one: Tried, before: Scores) -> dict[str, Any]:
    summary = RunDirectory(one.trial.run).summary()
    return {
        "setting": one.setting,
        "label": one.trial.label,
        "run": str(one.trial.run),
        "is_learned": one.verdict.learned,
        "is_kept": one.verdict.kept,
        **_row(one.scores, before),
        "train_seconds": summary.train_seconds if summary else None,
    }


def _row(scores: Scores, before: Scores) -> dict[str, Any]:
    return figures_of(scores, before)
