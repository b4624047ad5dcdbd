"""``danlu eval list``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from danlu.cli.eval.common import AsJson, Evals
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.evaluation.directory import EvalDirectory

EPILOG = """\b
Examples:
  danlu eval list
  danlu eval list --json
"""


def list_(evals: Evals = Path("evals"), as_json: AsJson = False) -> None:
    """List evaluations, and the suites that ship."""
    from danlu.evaluation.directory import find_evaluations
    from danlu.evaluation.suites import load_suite, shipped_suites

    rows = [_row(directory) for directory in find_evaluations(evals)]
    suites = {name: load_suite(name) for name in shipped_suites()}
    if as_json:
        shown = {
            name: {"items": len(suite.items), "task_types": list(suite.task_types)}
            for name, suite in suites.items()
        }
        result_json({"evaluations": rows, "suites": shown})
        return
    if rows:
        columns = list(rows[0])
        table(
            columns,
            [[_cell(row[c]) for c in columns] for row in rows],
            right=("answers", "items", "scored"),
        )
    else:
        note(f"no evaluation in {evals}")
    for name, suite in suites.items():
        note(
            f"suite that ships: {name}, {len(suite.items):,} items of "
            f"{len(suite.task_types)} task types"
        )


def _row(directory: EvalDirectory) -> dict[str, Any]:
    evaluation, summary = directory.evaluation(), directory.summary()
    types = summary.task_types if summary else {}
    return {
        "path": str(directory.path),
        "suite": evaluation.suite,
        "model": evaluation.model.name,
        "answers": sum(1 for _ in directory.answers()),
        "items": sum(of.items for of in types.values()),
        "scored": sum(of.scored for of in types.values()),
        "score": summary.score if summary else None,
        "state": directory.state(),
        "started_at": evaluation.started_at.isoformat(timespec="seconds"),
    }


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("list", epilog=EPILOG)(list_)
