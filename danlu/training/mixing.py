"""The mix of a run: how often the records of each task type or source are learned in an epoch.

The same arithmetic as ``danlu data mix``, but nothing is written down: each epoch draws anew which
records of a task type it takes, so that over the epochs all of them have their turn.
"""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from danlu.config.recipe import Recipe
from danlu.errors import DanluError, RecipeError
from danlu.sequences.prepared import PreparedData
from danlu.training.order import Draw, RecordOrder
from danlu.workshop.data import VERSION_PREFIX
from danlu.workshop.operations.shares import Row, Targets, plan


def record_order(recipe: Recipe, train: PreparedData) -> RecordOrder:
    """Return the order in which a run learns its records.

    Raises:
        RecipeError: If the mix asks for what is not there.
    """
    settings = recipe.training
    draw = None
    if recipe.data.mix.targets:
        rows, group = _plan(recipe, train)
        draw = Draw(group, np.array([row.times for row in rows]), settings.seed)
        if not draw.size:
            raise RecipeError("the mix takes no record at all.", where="data.mix")
    return RecordOrder(len(train), settings.batch_records, settings.seed, draw)


def mix_lines(recipe: Recipe, train: PreparedData) -> list[str]:
    """Say of each group of the mix what is asked for, and what an epoch has; nothing without one.

    Raises:
        RecipeError: If the mix asks for what is not there.
    """
    if not recipe.data.mix.targets:
        return []
    rows, _ = _plan(recipe, train)
    unit = recipe.data.mix.unit
    lines = []
    for row in rows:
        line = f"mix: {row.name}: {row.asked:,.0f} {unit} asked, {row.planned:,.0f} in an epoch"
        line += f", each {row.times:.2f} times" if row.times > 1 else f" of {row.available:,.0f}"
        lines.append(line + (f" (bound by {row.bound})" if row.bound else ""))
    return lines


def _plan(recipe: Recipe, train: PreparedData) -> tuple[list[Row], NDArray[np.int64]]:
    """Return the rows of the mix, and the row of each record, ``(R,)``."""
    mix = recipe.data.mix
    names, channel = _groups(recipe, train)
    present = [name for k, name in enumerate(names) if (channel == k).any()]
    numbers = {name: number for number, name in enumerate(sorted(set(present)))}
    row_of_channel = np.array([numbers.get(name, -1) for name in names], np.int64)
    group = row_of_channel[channel]
    amount = _trained_tokens(train) if mix.unit == "tokens" else np.ones(len(train))
    available = np.bincount(group, amount, len(numbers)).tolist()
    try:
        rows = plan(
            dict(zip(numbers, available, strict=True)),
            Targets.parse(mix.targets),
            total=mix.total,
            repeats=mix.repeats,
            cap=mix.cap,
        )
    except DanluError as error:
        where = f"data.mix: {error.where}" if error.where else "data.mix"
        raise RecipeError(error.message, where=where) from error
    return rows, group


def _groups(recipe: Recipe, train: PreparedData) -> tuple[list[str], NDArray[np.int64]]:
    """Return names of groups, which may come twice, and which one each record is of, ``(R,)``."""
    mix = recipe.data.mix
    if mix.by == "source":
        wanted = set(Targets.parse(mix.targets).names)
        paths = [source.path for source in recipe.data.train]
        position = np.asarray(train.record_position, np.int64)
        number = np.searchsorted(train.source_ends, position, side="right")
        return [path if path in wanted else source_name(path) for path in paths], number
    names = list(train.channels)
    if mix.by == "area":
        names = [name.partition("/")[0] for name in names]
    return names, np.asarray(train.record_channel, np.int64)


def source_name(path: str) -> str:
    """Call a source by its file without folder and extension, or by the version's name.

    Example:
        >>> source_name("raw/shop.jsonl"), source_name("version:shop.v2@3")
        ('shop', 'shop.v2')
    """
    if path.startswith(VERSION_PREFIX):
        return path.removeprefix(VERSION_PREFIX).partition("@")[0]
    return PurePath(path).stem


def _trained_tokens(train: PreparedData) -> NDArray[np.float64]:
    """Count the tokens of each record that are learned; ``(R,)``."""
    reached = np.concatenate([[0], np.cumsum(np.asarray(train.weights) > 0)])
    found: NDArray[np.float64] = np.diff(
        reached[np.asarray(train.offsets)][np.asarray(train.record_offsets)]
    ).astype(np.float64)
    return found
