"""Settings that Optuna chooses: where a grid would be too large, or the best lies between values.

Its tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms for hyper-parameter
optimization"; Watanabe 2023, arXiv:2304.11127) proposes what to try from what was tried. It is
seeded, and what it proposes depends on the losses alone: so a sweep that was stopped goes on by
going through its finished runs again, and a longer one begins with the trials of a shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.diagnosis.sweep.grid import RANGE, trial_of, values_of
from danlu.diagnosis.sweep.trials import Pace, Ran, Told, must_hold_out, run_trial
from danlu.errors import RecipeError

if TYPE_CHECKING:
    from optuna.trial import Trial as Proposal

AT_RANDOM = 5
"""Trials that are drawn before the losses are looked at; Optuna's ten are many for trainings."""
DECADE = 10.0
"""From this ratio on a range is gone through by ratios, not by differences."""


@dataclass(frozen=True)
class Range:
    """Values between two ends.

    Attributes:
        low: Least.
        high: Largest.
        whole: Only whole numbers.
    """

    low: float
    high: float
    whole: bool

    @property
    def by_ratio(self) -> bool:
        """Whether equal ratios are equally likely."""
        return self.low > 0 and self.high / self.low >= DECADE


def range_of(value: str, key: str) -> Range | None:
    """Read ``1e-5..1e-3``; None if it is no range.

    Raises:
        RecipeError: If its ends are not rising numbers.

    Example:
        >>> range_of("4..64", "tuning.lora_rank")
        Range(low=4.0, high=64.0, whole=True)
    """
    match = RANGE.fullmatch(value)
    if match is None:
        return None
    try:
        low, high = (float(end) for end in match.groups())
    except ValueError:
        low = high = math.nan
    if not low < high:
        raise RecipeError(
            f"{value} is no range: write a smaller and a larger number, as in 1e-5..1e-3.",
            where=key,
        )
    return Range(low, high, all(end.lstrip("+-").isdecimal() for end in match.groups()))


def run_chosen(
    recipe: str | Path,
    given: Sequence[str],
    folder: Path,
    count: int,
    *,
    minutes: float | None = None,
    seed: int = 0,
    told: Told = lambda text: None,
    progress: bool = True,
    shared: Path | None = None,
) -> Ran:
    """Train what Optuna proposes, one after another, for the lowest loss on what is held out.

    Args:
        recipe: A file, or the name of a shipped recipe.
        given: ``KEY=LOW..HIGH`` or ``KEY=A,B,C`` each; with one value it is the same in all.
        folder: Of the sweep; runs lie in ``runs`` there.
        count: How many trials; a proposal that was there before counts, and is not trained again.
        minutes: As for ``run_trials``.
        seed: Of the proposals.
        told: Hears what is being done.
        progress: Show the bar of each training.
        shared: As for ``run_trials``.

    Raises:
        RecipeError: If Optuna is not installed, a setting or value is wrong, or nothing varies.
        DanluError: If a training fails.
    """
    optuna = _optuna()
    axes = dict(map(values_of, given))
    if len(axes) < len(given):
        raise RecipeError("a setting is given twice.", where="command line")
    choose = {key: _chooser(key, values) for key, values in axes.items()}
    varied = [key for key, values in axes.items() if len(values) > 1 or range_of(values[0], key)]
    if not varied:
        raise RecipeError(
            "nothing varies: give a setting a range or several values, as in "
            "training.learning_rate=1e-5..1e-3.",
            where="command line",
        )
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=AT_RANDOM)
    study = optuna.create_study(sampler=sampler)
    ran, pace, seen = Ran(), Pace(minutes), set[str]()
    for number in range(count):
        proposal = study.ask()
        chosen = {key: choice(proposal) for key, choice in choose.items()}
        trial = trial_of(recipe, chosen, varied, folder)
        must_hold_out([trial])
        place = f"{number + 1} of {count}"
        score = run_trial(trial, pace, place, told=told, progress=progress, shared=shared)
        if score is None:
            ran.left.append(trial)
            break
        study.tell(proposal, score.loss)
        if trial.recipe.name not in seen:
            seen.add(trial.recipe.name)
            ran.scores.append(score)
    return ran


def _chooser(key: str, values: Sequence[str]) -> Callable[[Proposal], str]:
    """Return how a setting's value is proposed, as it is written in a recipe."""
    span = range_of(values[0], key) if len(values) == 1 else None
    if span is None:
        if any(RANGE.fullmatch(value) for value in values):
            raise RecipeError("give one range, or several values.", where=key)
        return lambda proposal: str(proposal.suggest_categorical(key, list(values)))
    log = span.by_ratio
    if span.whole:
        low, high = int(span.low), int(span.high)
        return lambda proposal: str(proposal.suggest_int(key, low, high, log=log))
    return lambda proposal: f"{proposal.suggest_float(key, span.low, span.high, log=log):.3g}"


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise RecipeError(
            "Optuna is not installed: pip install 'danlu[optuna]'.", where="--optuna"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
