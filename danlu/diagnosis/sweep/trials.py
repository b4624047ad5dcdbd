"""Trials: recipes trained one after another, each a run of its own, within a budget."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from danlu.config.recipe import Recipe
from danlu.errors import RecipeError
from danlu.runs import RunDirectory
from danlu.training.run import train

LONGEST_NAME = 80
_UNSAFE = re.compile(r"[^\w.=+\-]+")

Told = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """One recipe to be trained.

    Attributes:
        label: What is different about it: ``{"training.learning_rate": "1e-4"}``.
        recipe: All of it; its name and folder say where the run lies.
    """

    label: dict[str, str]
    recipe: Recipe

    @property
    def run(self) -> Path:
        """The run directory."""
        return Path(self.recipe.runs_dir) / self.recipe.name


@dataclass(frozen=True)
class Score:
    """What a trial came to, on what was held out.

    Attributes:
        trial: The trial.
        loss: The lowest evaluation loss, in nats per token.
        step: The step that had it.
        task_types: Evaluation loss per task type at that step.
        curve: Steps and evaluation losses, the one before training included.
        seconds: Time spent training.
    """

    trial: Trial
    loss: float
    step: int
    task_types: dict[str, float]
    curve: tuple[tuple[int, float], ...]
    seconds: float


@dataclass
class Pace:
    """Says whether there is time for one more trial, by how long those before it took.

    Attributes:
        minutes: No trial is begun that would probably end later than this; None: no limit.
    """

    minutes: float | None = None
    _began: float = field(default_factory=time.monotonic, init=False)
    _spent: list[float] = field(default_factory=list, init=False)

    def allows_another(self) -> bool:
        """Whether one more would probably end in time."""
        if self.minutes is None:
            return True
        usual = sum(self._spent) / len(self._spent) if self._spent else 0.0
        return time.monotonic() - self._began + usual <= self.minutes * 60

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Remember how long a trial took."""
        start = time.monotonic()
        yield
        self._spent.append(time.monotonic() - start)


@dataclass
class Ran:
    """What was trained.

    Attributes:
        scores: Of the trials that ended, in the order given.
        left: Trials that the budget did not reach.
    """

    scores: list[Score] = field(default_factory=list)
    left: list[Trial] = field(default_factory=list)

    @property
    def best(self) -> Score | None:
        """The trial of the lowest loss."""
        return min(self.scores, key=lambda one: one.loss, default=None)


def run_trials(
    trials: Sequence[Trial],
    *,
    minutes: float | None = None,
    told: Told = lambda text: None,
    progress: bool = True,
    shared: Path | None = None,
) -> Ran:
    """Train what is not trained yet.

    A trial that is finished with the same recipe is taken as it is, one that was interrupted goes
    on where it was, and one whose recipe has changed begins anew.

    Args:
        trials: In the order in which they are trained.
        minutes: No trial is begun that would probably end later than this; None: all are trained.
        told: Hears what is being done.
        progress: Show the bar of each training.
        shared: Where prepared data are kept for all trials of the same records; None: nowhere.

    Raises:
        RecipeError: If a trial holds nothing out, so that nothing could be compared.
        DanluError: If a training fails.
    """
    must_hold_out(trials)
    ran, pace = Ran(), Pace(minutes)
    for number, trial in enumerate(trials):
        place = f"{number + 1} of {len(trials)}"
        score = run_trial(trial, pace, place, told=told, progress=progress, shared=shared)
        if score is None:
            ran.left.append(trial)
        else:
            ran.scores.append(score)
    return ran


def must_hold_out(trials: Sequence[Trial]) -> None:
    """Refuse trials that could not be compared.

    Raises:
        RecipeError: If one holds nothing out.
    """
    for trial in trials:
        if not (trial.recipe.data.eval or trial.recipe.data.eval_share):
            raise RecipeError(
                "nothing is held out, so there is nothing to compare by: set data.eval_share=0.1, "
                "or name data.eval.",
                where="data",
            )


def run_trial(
    trial: Trial,
    pace: Pace,
    place: str,
    *,
    told: Told = lambda text: None,
    progress: bool = True,
    shared: Path | None = None,
) -> Score | None:
    """Train a trial, unless it is known; None if there is no time for it.

    Args:
        trial: The trial.
        pace: Whether there is time.
        place: Which of how many it is, in words.
        told: Hears what is being done.
        progress: Show the bar.
        shared: As for ``run_trials``.
    """
    known = is_done(trial)
    if not known and not pace.allows_another():
        return None
    told(f"{place}: {trial.recipe.name}{', known' if known else ''}")
    if not known:
        with pace.timed():
            train_trial(trial, progress=progress, shared=shared)
    return score_of(trial)


def is_done(trial: Trial) -> bool:
    """Whether a trial has been trained to its end with this recipe."""
    run = RunDirectory(trial.run)
    return run.is_run() and run.state() == "finished" and _is_same(run, trial)


def train_trial(trial: Trial, *, progress: bool = True, shared: Path | None = None) -> None:
    """Train, or go on where it was.

    Args:
        trial: The trial.
        progress: Show the bar.
        shared: Where prepared data are kept for all trials of the same records.

    Raises:
        KeyboardInterrupt: If it was asked to stop; it can go on.
        DanluError: If the training fails.
    """
    run = RunDirectory(trial.run)
    there = run.is_run()
    goes_on = there and run.state() in ("interrupted", "failed") and _is_same(run, trial)
    goes_on = goes_on and any(run.checkpoints_path.glob("*"))
    made = train(
        trial.recipe,
        resume=goes_on,
        overwrite=there and not goes_on,
        progress=progress,
        shared=shared,
    )
    if made.summary is None:
        raise KeyboardInterrupt


def score_of(trial: Trial) -> Score:
    """Read what a finished trial came to.

    Raises:
        RecipeError: If it was never evaluated.
    """
    run = RunDirectory(trial.run)
    rows = [row for row in run.metrics() if row.split == "eval"]
    if not rows:
        raise RecipeError("nothing was evaluated in this run.", where=str(trial.run))
    best = min(rows, key=lambda row: row.loss)
    return Score(
        trial,
        best.loss,
        best.step,
        {name: one.loss for name, one in best.channels.items()},
        tuple((row.step, row.loss) for row in rows),
        run_seconds(run),
    )


def run_seconds(run: RunDirectory) -> float:
    """Return how long a run trained."""
    summary = run.summary()
    return summary.train_seconds if summary else 0.0


def trial_name(label: dict[str, str]) -> str:
    """Name a trial after its settings, as a folder may be called.

    Example:
        >>> trial_name({"training.epochs": "3", "tuning.lora_targets": "[q_proj, v_proj]"})
        'epochs=3,lora_targets=q_proj_v_proj'
    """
    parts = [
        f"{key.rsplit('.', 1)[-1]}={_UNSAFE.sub('_', value).strip('_')}"
        for key, value in label.items()
    ]
    name = ",".join(parts)
    if len(name) <= LONGEST_NAME:
        return name
    from danlu.records.record import content_id

    return f"{name[: LONGEST_NAME - 9]}-{content_id(label)[:8]}"


def _is_same(run: RunDirectory, trial: Trial) -> bool:
    resolved = run.resolved()
    return resolved is not None and resolved.recipe == trial.recipe.model_dump(mode="json")
