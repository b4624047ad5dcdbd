"""``danlu eval score``."""

from __future__ import annotations

import typer

from danlu.cli.eval.common import AsJson, Place, opened, tell

EPILOG = """\b
Examples:
  danlu eval score evals/general-my-run
  danlu eval score evals/general-my-run --json

Scores what is answered, without asking the model; judges' scores stay as they are.
"""


def score(place: Place, as_json: AsJson = False) -> None:
    """Score the answers of an evaluation again."""
    from danlu.cli.eval.run import stage_bar
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.run import score as score_again

    with EvalDirectory.resume(opened(place).path) as directory, stage_bar() as progress:
        summary = score_again(directory, progress=progress)
    tell(directory, summary, as_json)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("score", epilog=EPILOG)(score)
