"""The quickstart, in order: ask, train, ask again, show.

It can be stopped at any moment and typed again: the answers before training are kept in the
cache, an unfinished training is resumed, and a finished one is only measured if that was missing.
A finished and measured run is trained anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.config import load_recipe, recipe_text
from danlu.config.recipe import ModelSection, Recipe
from danlu.errors import RunError
from danlu.quickstart.asking import ask, ask_once
from danlu.quickstart.outcome import Outcome
from danlu.quickstart.questions import Question, count_right, held_out
from danlu.quickstart.show import show_next, show_outcome, show_samples
from danlu.runs import RunDirectory, Sample, Summary, write_report

if TYPE_CHECKING:
    from rich.console import Console

REACHED, MISSED, INTERRUPTED = 0, 1, 130


def quickstart(
    runs_dir: str = "runs", *, settings: Sequence[str] = (), progress: bool = True
) -> int:
    """Teach the built-in model the name Danlu, and measure it on questions it never saw.

    Args:
        runs_dir: Where the run directory ``quickstart`` is made.
        settings: Settings in place of the recipe's, as ``training.epochs=1``.
        progress: Show bars and notes on stderr.

    Returns:
        0 if the goals were reached, 1 if not (and says which), 130 if training was interrupted.

    Raises:
        DanluError: Whatever the user can mend: disk, package, another process in this run.
    """
    from rich.console import Console

    console, notes = Console(), Console(stderr=True, quiet=not progress)
    recipe = load_recipe("quickstart", settings)
    recipe = recipe.model_copy(update={"runs_dir": str(runs_dir)})
    identity, general = held_out("identity"), held_out("general")
    questions = identity + general
    prompts = [question.prompt for question in questions]

    _say(notes, f"1/3  asking the model {len(prompts)} questions, before training")
    before = ask_once(recipe.model, prompts, progress=progress)
    _say(notes, "2/3  training")
    summary = _trained(recipe, progress, notes)
    if summary is None:
        _say(notes, "Interrupted; the same command goes on from there.")
        return INTERRUPTED
    run = RunDirectory.open(Path(recipe.runs_dir) / recipe.name)
    _say(notes, "3/3  asking the same questions again")
    after = ask(ModelSection(path=str(run.path)), prompts, progress=progress)

    outcome = Outcome(
        identity_before=count_right(identity, before[: len(identity)]),
        identity_after=count_right(identity, after[: len(identity)]),
        identity_total=len(identity),
        general_before=count_right(general, before[len(identity) :]),
        general_after=count_right(general, after[len(identity) :]),
        general_total=len(general),
        train_seconds=round(summary.train_seconds, 1),
    )
    samples = _samples(questions, before, after)
    _keep(run, summary, outcome, samples)
    return _show(console, run.path, outcome, samples)


def _trained(recipe: Recipe, progress: bool, notes: Console) -> Summary | None:
    """Bring the run to its end from wherever it stands; None if it was interrupted."""
    from danlu.diagnosis.live import live_alerts
    from danlu.training.run import train as train_recipe

    text = recipe_text(recipe)
    train = partial(train_recipe, progress=progress, recipe_text=text, observer=live_alerts)
    run = RunDirectory(Path(recipe.runs_dir) / recipe.name)
    resume = run.is_run() and run.recipe_text() == text
    if resume and run.state() == "finished":
        summary = run.summary()
        if summary is not None and "quickstart" not in summary.more:
            return summary
        resume = False
    if resume:
        try:
            return train(recipe, resume=True).summary
        except RunError as error:
            _say(notes, f"cannot go on with the earlier run, so it begins anew: {error}")
    return train(recipe, overwrite=True).summary


def _samples(
    questions: Sequence[Question], before: Sequence[str], after: Sequence[str]
) -> list[Sample]:
    """Pair the answers, for the report."""
    return [
        Sample(
            prompt=question.prompt,
            task_type=question.task_type,
            before=first,
            after=second,
            reference=" / ".join(question.accepted),
        )
        for question, first, second in zip(questions, before, after, strict=True)
    ]


def _keep(run: RunDirectory, summary: Summary, outcome: Outcome, samples: Sequence[Sample]) -> None:
    """Write answers, then figures: only the figures mark the run as measured."""
    run.write_samples(samples)
    figures = {**summary.model_dump(), "quickstart": outcome.as_dict()}
    run.write_summary(Summary.model_validate(figures))
    write_report(run.path)


def _show(console: Console, run_dir: Path, outcome: Outcome, samples: Sequence[Sample]) -> int:
    """Print the results and return the exit code."""
    show_outcome(console, outcome)
    show_samples(console, samples)
    show_next(console, run_dir)
    missed = outcome.shortfalls()
    for sentence in missed:
        console.print(f"Not reached: {sentence}", style="bold red", highlight=False)
    return MISSED if missed else REACHED


def _say(notes: Console, line: str) -> None:
    notes.print(line, markup=False, highlight=False, soft_wrap=True)
