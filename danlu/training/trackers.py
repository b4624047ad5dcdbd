"""Trackers (TensorBoard, Weights & Biases ...): what they are told, and which names there are.

Accelerate speaks to them. TensorBoard's files lie in the run directory, under ``trackers/``;
others keep theirs where they always do.
"""

from __future__ import annotations

from collections.abc import Sequence

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, LoggerType, get_available_trackers

from danlu.config import describe
from danlu.config.recipe import Recipe
from danlu.errors import RecipeError, did_you_mean
from danlu.runs import MetricsRow
from danlu.training.loop import Watcher

ALL = "all"
"""Accelerate's name for every tracker that is installed."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker that is not known or not installed; Accelerate passes the latter over.

    Args:
        names: ``logging.trackers`` of the recipe.

    Raises:
        RecipeError: With the nearest name, or with what to install.
    """
    built_in = {str(name) for name in LoggerType.list()}
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in built_in | LOGGER_TYPE_TO_CLASS.keys():
            raise RecipeError(
                f"there is no tracker {name!r}.{did_you_mean(name, built_in)}",
                where="logging.trackers",
            )
        if name == ALL and not installed:
            raise RecipeError("no tracker is installed. " + _remedy(ALL), where="logging.trackers")
        if name in built_in - installed - {ALL}:
            raise RecipeError(
                f"the tracker {name!r} is not installed. {_remedy(name)}", where="logging.trackers"
            )


def _remedy(name: str) -> str:
    package = "'danlu[trackers]'" if name in (ALL, "tensorboard") else name
    return f"Install it with pip install {package}, or take it out of the recipe."


def start_trackers(recipe: Recipe, accelerator: Accelerator, step: int) -> Watcher:
    """Start the recipe's trackers.

    Args:
        recipe: Its settings are handed over too.
        accelerator: Made with ``log_with``.
        step: Where the run goes on, 0 at its beginning. TensorBoard is told to forget what it has
            of later steps, which a run that was killed goes through once more.

    Returns:
        What to call with each row.
    """
    accelerator.init_trackers(
        recipe.name,
        config=_settings(recipe),
        init_kwargs={"tensorboard": {"purge_step": step + 1 if step else 0}},
    )

    def tell(row: MetricsRow) -> None:
        accelerator.log(flat(row), step=row.step)

    return tell


def flat(row: MetricsRow) -> dict[str, float]:
    """Return a row as trackers take it: ``train/loss``, ``train/loss/<task type>`` ...

    What else the objective reports stands beside the loss: ``train/accuracy/<task type>`` ...

    Example:
        >>> row = MetricsRow(step=1, epoch=0.5, loss=2.5, split="eval")
        >>> flat(row)["eval/loss"]
        2.5
    """
    own = row.model_dump(exclude={"step", "split", "channels", "metrics"}, exclude_none=True)
    told = {f"{row.split}/{key}": float(value) for key, value in {**own, **row.metrics}.items()}
    for name, channel in row.channels.items():
        for key, value in {"loss": channel.loss, **channel.metrics}.items():
            told[f"{row.split}/{key}/{name}"] = value
    return told


def _settings(recipe: Recipe) -> dict[str, str | int | float | bool]:
    """Return every setting by its path, without those that are not set; lists as text."""
    return {
        row.path: row.value if isinstance(row.value, (str, int, float)) else str(row.value)
        for row in describe(recipe)
        # Sources stand in data.train too, and MLflow takes no brackets in names.
        if row.value is not None and "[" not in row.path
    }
