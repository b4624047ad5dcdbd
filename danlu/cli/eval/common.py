"""What the commands of ``danlu eval`` have in common."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.output import PIPE_COLUMNS, note, result_json

if TYPE_CHECKING:
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.schema import EvalSummary

Evals = Annotated[
    Path, typer.Option("--evals", help="Folder of evaluations.", metavar="DIR", file_okay=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Place = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of an evaluation, such as evals/NAME.")
]


def opened(place: Path) -> EvalDirectory:
    """Open an evaluation by its folder, or by its name in ``evals``."""
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.run import EVALS

    inside = Path(EVALS) / place
    if not (place / "eval.json").is_file() and (inside / "eval.json").is_file():
        place = inside
    return EvalDirectory.open(place)


def tell(directory: EvalDirectory, summary: EvalSummary, as_json: bool) -> None:
    """Print the table of an evaluation, and what is to be known of its answers."""
    if as_json:
        result_json(as_object(directory, summary))
        return
    from rich.console import Console

    from danlu.evaluation.table import show_summary

    stakes = directory.evaluation().task_types
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS
    show_summary(Console(width=width, highlight=False), summary, stakes)
    for line in remarks(directory, summary):
        note(line)


def as_object(directory: EvalDirectory, summary: EvalSummary) -> dict[str, Any]:
    """Return an evaluation as one JSON object."""
    evaluation = directory.evaluation()
    answers = list(directory.answers())
    return {
        "path": str(directory.path),
        "state": directory.state(),
        "answers": len(answers),
        "reused": sum(row.reused for row in answers),
        "unfinished": sum(not row.finished and row.text is not None for row in answers),
        "items": sum(of.items for of in summary.task_types.values()),
        "scored": sum(of.scored for of in summary.task_types.values()),
        **evaluation.model_dump(mode="json", exclude={"state"}),
        **summary.model_dump(mode="json", exclude={"suite", "model", "task_types"}),
        "results": {name: of.model_dump(mode="json") for name, of in summary.task_types.items()},
    }


def remarks(directory: EvalDirectory, summary: EvalSummary) -> list[str]:
    """Say what the table does not: answers reused and cut off, scores to come, and the folder."""
    answers = list(directory.answers())
    told = []
    reused = sum(row.reused for row in answers)
    if reused:
        told.append(f"{reused:,} of {len(answers):,} answers were known from earlier evaluations")
    cut = sum(not row.finished and row.text is not None for row in answers)
    if cut:
        told.append(
            f"{cut:,} of {len(answers):,} answers reached their longest length "
            "(--max-new-tokens, or max_new_tokens of the task type)"
        )
    judged = [
        name
        for name, of in directory.evaluation().task_types.items()
        if of.scorer.partition("/")[0] == "judge" and summary.task_types[name].score is None
    ]
    if judged:
        told.append(f"{len(judged)} task types wait for a judge: {', '.join(judged[:5])}")
    lacking = sum(of.items - of.scored for of in summary.task_types.values()) - sum(
        summary.task_types[name].items for name in judged
    )
    if lacking:
        from danlu.evaluation.summary import at_worst

        stakes = directory.evaluation().task_types
        worst = None if judged else at_worst(summary, stakes)
        bound = "" if worst is None else f"; with those at the lowest, all would be {worst:.3f}"
        told.append(
            f"{lacking:,} {'item has' if lacking == 1 else 'items have'} no score; missing is not "
            f"0. Scores in parentheses are of the others alone{bound}: "
            f"danlu eval show {directory.path} --missing 5"
        )
    told.append(f"{directory.path}: {summary.seconds:.0f} s")
    return told
