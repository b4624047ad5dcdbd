"""Settings to be tried: a grid of values."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path

from danlu.config.load import load_recipe
from danlu.diagnosis.sweep.trials import Trial, trial_name
from danlu.errors import RecipeError

MOST_TRIALS = 64
"""More are more likely a slip than a plan."""
RANGE = re.compile(r"([+-]?[\d.]+?(?:[eE][+-]?\d+)?)\.\.([+-]?[\d.]+(?:[eE][+-]?\d+)?)")
"""``1e-5..1e-3``: any value between the two, for a sweep that chooses by itself."""
_OPEN, _CLOSE = "[{(", "]})"


def values_of(given: str) -> tuple[str, list[str]]:
    """Read ``key=a,b,c``; commas within brackets and quotes belong to a value.

    Raises:
        RecipeError: If it is none, or a value is empty or stands twice.

    Example:
        >>> values_of("tuning.lora_targets=[q_proj, v_proj],all")
        ('tuning.lora_targets', ['[q_proj, v_proj]', 'all'])
    """
    key, equals, text = given.partition("=")
    values, depth, quote = [""], 0, ""
    for character in text:
        if character in "'\"":
            quote = "" if quote == character else quote or character
        elif not quote:
            depth += (character in _OPEN) - (character in _CLOSE)
        if character == "," and not depth and not quote:
            values.append("")
        else:
            values[-1] += character
    values = [value.strip() for value in values]
    if not equals or not key.strip() or not all(values):
        raise RecipeError(
            f"{given!r} is no setting with values: write KEY=A,B,C, as in "
            "training.learning_rate=1e-4,3e-4.",
            where="command line",
        )
    if len(set(values)) < len(values):
        raise RecipeError(f"{given!r} has a value twice.", where="command line")
    return key.strip(), values


def grid(
    recipe: str | Path, given: Sequence[str], folder: Path, fixed: Sequence[str] = ()
) -> list[Trial]:
    """Make a trial of every combination of values.

    Args:
        recipe: A file, or the name of a shipped recipe.
        given: ``KEY=A,B,C`` each; with one value it is the same in all.
        folder: Of the sweep; runs lie in ``runs`` there.
        fixed: ``KEY=VALUE`` for all, commas and all.

    Raises:
        RecipeError: If a setting or value is wrong, if nothing varies, or the grid is too large.

    Returns:
        Trials, the last setting varying fastest.
    """
    axes = dict(map(values_of, given))
    if len(axes) < len(given):
        raise RecipeError("a setting is given twice.", where="command line")
    count = prod(map(len, axes.values()))
    if count > MOST_TRIALS:
        sizes = " x ".join(str(len(values)) for values in axes.values())
        raise RecipeError(
            f"{sizes} are {count} runs, and {MOST_TRIALS} is the limit: try fewer values.",
            where="command line",
        )
    varied = [key for key, values in axes.items() if len(values) > 1 or RANGE.fullmatch(values[0])]
    if not varied:
        raise RecipeError(
            "nothing varies: give a setting several values, as in training.epochs=1,3.",
            where="command line",
        )
    for key in varied:
        if any(RANGE.fullmatch(value) for value in axes[key]):
            raise RecipeError(
                f"{key} is a range, and a grid needs values: list them, or let Optuna choose from "
                "the range with --optuna 20.",
                where="command line",
            )
    chosen = (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))
    return [trial_of(recipe, one, varied, folder, fixed) for one in chosen]


def trial_of(
    recipe: str | Path,
    chosen: Mapping[str, str],
    varied: Collection[str],
    folder: Path,
    fixed: Sequence[str] = (),
) -> Trial:
    """Make a trial of chosen values, called after those that vary.

    Raises:
        RecipeError: If a setting or value is wrong.
    """
    label = {key: chosen[key] for key in varied}
    settings = [*fixed, *(f"{key}={value}" for key, value in chosen.items())]
    settings += [f"name={trial_name(label)}", f"runs_dir={folder / 'runs'}"]
    return Trial(label, load_recipe(recipe, settings))
