"""From a recipe and a task to the recipes that are trained: both ends, and the settings between."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.config.data_sections import MixSection
from danlu.config.recipe import WITH_TEACHER, Recipe
from danlu.diagnosis.squeeze.knob import (
    TEN_EPOCHS,
    Knob,
    Over,
    epochs_knob,
    rate_knob,
    share_knob,
)
from danlu.diagnosis.sweep.trials import Trial, trial_name
from danlu.errors import RecipeError, nearest
from danlu.evaluation.suites import load_suite
from danlu.records import read_records
from danlu.workshop.data import recipe_sources

ANSWERS = ("nll", *WITH_TEACHER)
ALONE = "alone"


@dataclass(frozen=True)
class Wish:
    """What is to be squeezed.

    Attributes:
        task: The target: a task type, or an area, which is all task types in it.
        over: What is varied.
        goal: Share of the target's questions to be answered rightly.
        margin: By how much the share of general questions answered rightly may fall.
        runs: Most runs that are trained, the ends included.
        suites: Whose questions are asked, of the target and others; empty: the target's own
            records, and the general suite.
        questions: Of each task type at most so many are asked.
        low: Least setting; None: by what is varied.
        high: Largest setting; likewise.
        records: Size of an epoch where the share is varied; None: as many as the data have.

    Raises:
        RecipeError: If a share or a count is out of range.
    """

    task: str
    over: Over = "share"
    goal: float = 0.9
    margin: float = 0.03
    runs: int = 8
    suites: tuple[str, ...] = ()
    questions: int = 24
    low: float | None = None
    high: float | None = None
    records: int | None = None

    def __post_init__(self) -> None:
        if not (0 < self.goal <= 1 and 0 <= self.margin < 1):
            raise RecipeError(
                f"the goal is {self.goal:g} and the margin {self.margin:g}: both are shares, the "
                "goal above 0.",
                where="--learned, --margin",
            )

    def is_of_task(self, task_type: str) -> bool:
        """Whether a task type is the target, or in it.

        Example:
            >>> Wish("identity").is_of_task("identity/name"), Wish("a/b").is_of_task("a/c")
            (True, False)
        """
        return task_type == self.task or task_type.partition("/")[0] == self.task


@dataclass(frozen=True)
class Plan:
    """What can be trained.

    Attributes:
        recipe: As given.
        wish: What is wanted.
        folder: Of the squeeze; runs lie in ``runs`` there.
        counts: Records per task type in the training data.
        knob: What is varied.
    """

    recipe: Recipe
    wish: Wish
    folder: Path
    counts: dict[str, int]
    knob: Knob

    @property
    def target_records(self) -> int:
        """How many records are of the target."""
        return sum(n for name, n in self.counts.items() if self.wish.is_of_task(name))

    @property
    def epoch_records(self) -> int:
        """How many records an epoch has where the share is varied."""
        kept = 1 - self.recipe.data.eval_share
        return self.wish.records or max(1, round(sum(self.counts.values()) * kept))

    def alone(self) -> list[Trial]:
        """Train the target alone: as long as the recipe says, and for ten epochs if that is more.

        What is learned in fewer epochs is learned in ten, so the second is needed only where the
        first does not do.
        """
        own = self.recipe.training
        trials = [self._trial({ALONE: "own"}, self._changed(self.mix(1.0), {}))]
        if own.epochs < TEN_EPOCHS or own.max_steps is not None:
            longer = {"epochs": max(own.epochs, TEN_EPOCHS), "max_steps": None}
            label = {ALONE: f"{longer['epochs']:g}"}
            trials.append(self._trial(label, self._changed(self.mix(1.0), longer)))
        return trials

    def at(self, setting: float) -> Trial:
        """Train with a setting between the ends."""
        label: dict[str, str] = {self.knob.over: f"{setting:g}"}
        return self._trial(label, self.recipe_at(setting))

    def recipe_at(self, setting: float) -> Recipe:
        """Return the recipe with a setting, and nothing else changed."""
        if self.knob.over == "share":
            return self._changed(self.mix(setting), {})
        return self._changed(None, {self.knob.over: setting})

    def to_use(self, setting: float) -> Recipe:
        """Return what the user trains, under a name of its own."""
        recipe = self.recipe_at(setting)
        return recipe.model_copy(update={"name": f"{recipe.name}-squeezed"})

    def mix(self, share: float) -> MixSection:
        """Return the mix in which the target has a share of the records of an epoch."""
        by_area = "/" not in self.wish.task
        groups: Counter[str] = Counter()
        for name, n in self.counts.items():
            groups[name.partition("/")[0] if by_area else name] += n
        own, total = groups[self.wish.task], sum(groups.values())
        targets: dict[str, Any] = {self.wish.task: float(share)}
        if share >= 1:
            targets |= {name: 0.0 for name in sorted(groups) if name != self.wish.task}
        size = self.epoch_records
        most = max(share * size / own, (1 - share) * size / max(1, total - own))
        held_out = 1 / (1 - self.recipe.data.eval_share)
        return MixSection.model_validate(
            {
                "by": "area" if by_area else "task_type",
                "targets": targets,
                "total": float(size),
                # A little more than is needed, as some records may be dropped.
                "repeats": float(math.ceil(most * held_out + 0.1)),
            }
        )

    def _changed(self, mix: MixSection | None, training: dict[str, Any]) -> Recipe:
        recipe = self.recipe
        update: dict[str, Any] = {}
        if mix is not None:
            update["data"] = recipe.data.model_copy(update={"mix": mix})
        if training:
            update["training"] = recipe.training.model_copy(update=training)
        return recipe.model_copy(update=update)

    def _trial(self, label: dict[str, str], recipe: Recipe) -> Trial:
        samples = recipe.samples.model_copy(update={"prompts": [], "from_data": 0})
        update = {
            "name": trial_name(label),
            "runs_dir": str(self.folder / "runs"),
            "samples": samples,  # the questions are asked afterwards, all of them
        }
        return Trial(label, recipe.model_copy(update=update))


def plan_of(recipe: Recipe, wish: Wish, folder: Path) -> Plan:
    """Read the data once, and check that the wish can be met.

    Raises:
        RecipeError: If the recipe learns no answers, has no record of the target or, where the
            share is varied, no other; or has settings that the wish would contradict.
        RecordError: If the data cannot be read.
        EvaluationError: If a suite cannot.
    """
    _check(recipe, wish)
    for name in wish.suites:
        load_suite(name)  # told now, not after the first run
    data = recipe.data
    records = read_records(recipe_sources(data.train)[0], on_bad_record=data.on_bad_record)
    counts = Counter(record.task_type for record in records)
    plan = Plan(recipe, wish, folder, dict(counts), _knob(recipe, wish, counts))
    if not plan.target_records:
        names = {*counts, *(name.partition("/")[0] for name in counts)}
        near = nearest(wish.task, names)
        raise RecipeError(
            f"no record is of task {wish.task!r}.{f' Did you mean {near!r}?' if near else ''} The "
            f"data have the task types {', '.join(sorted(counts))}; an area, the part before the "
            "slash, stands for all in it.",
            where="--task",
        )
    if wish.over == "share" and plan.target_records == sum(counts.values()):
        raise RecipeError(
            f"all records are of {wish.task}, so there is nothing to mix it with. Add general data "
            "to data.train, or vary something else: --over learning_rate.",
            where="--over share",
        )
    return plan


def _check(recipe: Recipe, wish: Wish) -> None:
    if recipe.objective.name not in ANSWERS:
        raise RecipeError(
            f"squeeze asks whether answers are learned, and {recipe.objective.name} learns none: "
            "it needs a recipe of supervised tuning.",
            where="objective.name",
        )
    mixed = recipe.data.mix.targets or any(one.share is not None for one in recipe.data.train)
    if wish.over == "share" and mixed:
        raise RecipeError(
            "the recipe has a mix of its own, which squeezing over the share would replace: take "
            "data.mix and the sources' shares out, or vary something else: --over learning_rate.",
            where="data.mix",
        )
    if wish.over == "epochs" and recipe.training.max_steps is not None:
        raise RecipeError(
            "the recipe says how many steps are made, so the epochs change nothing: take "
            "training.max_steps out.",
            where="training.max_steps",
        )
    if wish.records is not None and wish.over != "share":
        raise RecipeError("only goes with --over share.", where="--records")


def _knob(recipe: Recipe, wish: Wish, counts: Counter[str]) -> Knob:
    if wish.over == "learning_rate":
        return rate_knob(recipe.training.learning_rate, wish.low, wish.high)
    if wish.over == "epochs":
        return epochs_knob(recipe.training.epochs, wish.low, wish.high)
    own = sum(n for name, n in counts.items() if wish.is_of_task(name))
    return share_knob(own / max(1, sum(counts.values())), wish.low, wish.high)
