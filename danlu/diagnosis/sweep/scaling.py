"""Does more of this data still help? The recipe trained on growing parts, and a law through them.

The parts are nested: a larger one has all of a smaller one, and each task type keeps its share.
All are checked on the same held-out records, each record by itself, so that the uncertainty can be
drawn from them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from danlu.config.recipe import DataSource, Recipe
from danlu.diagnosis.sweep.law import Forecast, forecast
from danlu.diagnosis.sweep.trials import Trial, trial_name
from danlu.errors import RecipeError
from danlu.records import Record, read_records, write_records
from danlu.workshop.data import recipe_sources
from danlu.workshop.operations.marks import marks_of_ids

FEWEST_HELD_OUT = 5
"""Held-out records of a task type, below which nothing is said of it by itself."""
USUAL_EVAL_SHARE = 0.1
WHOLE = "all"


@dataclass(frozen=True)
class Parts:
    """The parts of the data, written down.

    Attributes:
        shares: Rising.
        records: How many training records each has.
        types: The same per task type.
        held_out: The held-out records.
    """

    shares: tuple[float, ...]
    records: tuple[int, ...]
    types: dict[str, tuple[int, ...]]
    held_out: tuple[Record, ...]


def shares_of(given: str) -> tuple[float, ...]:
    """Read ``0.1,0.3,1``.

    Raises:
        RecipeError: If they are not at least two different numbers above 0 and at most 1.

    Example:
        >>> shares_of("1,0.1,0.3")
        (0.1, 0.3, 1.0)
    """
    try:
        shares = sorted(float(one) for one in given.split(","))
    except ValueError as error:
        raise RecipeError(f"{given!r} are no shares: write 0.1,0.3,1.", where="--shares") from error
    if len(set(shares)) < max(2, len(shares)) or not all(0 < one <= 1 for one in shares):
        raise RecipeError(
            f"{given!r}: at least two different shares are needed, each above 0 and at most 1.",
            where="--shares",
        )
    return tuple(shares)


def write_parts(recipe: Recipe, shares: Sequence[float], folder: Path, *, seed: int = 0) -> Parts:
    """Draw the parts and the held-out records, and write them into a folder.

    Args:
        recipe: Its ``data.eval`` is held out, or ``data.eval_share`` of each task type, or a tenth.
        shares: Rising.
        folder: Gets ``share-0.1.jsonl`` and so on, and ``eval.jsonl``.
        seed: Of the draw.

    Raises:
        RecipeError: If nothing is left to train on, or to hold out.
        RecordError: If a source cannot be read.
    """
    data = recipe.data
    records = list(read_records(recipe_sources(data.train)[0], on_bad_record=data.on_bad_record))
    by_type: dict[str, list[Record]] = defaultdict(list)
    marks = marks_of_ids([one.id for one in records], seed)
    for place in np.argsort(marks, kind="stable").tolist():
        by_type[records[place].task_type].append(records[place])
    if data.eval:
        sources = recipe_sources(data.eval)[0]
        held_out = list(read_records(sources, on_bad_record=data.on_bad_record))
    else:
        held_out = []
        for name, own in by_type.items():
            count = round(len(own) * (data.eval_share or USUAL_EVAL_SHARE))
            held_out += own[:count]
            by_type[name] = own[count:]
    if not held_out or not any(by_type.values()):
        raise RecipeError(
            f"{len(records)} records are too few to train on some and hold others out.",
            where="data",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_records(held_out, folder / "eval.jsonl")
    counts: dict[str, list[int]] = {name: [] for name in by_type}
    totals = []
    for share in shares:
        part = []
        for name, own in by_type.items():
            count = math.ceil(len(own) * share)
            counts[name].append(count)
            part += own[:count]
        totals.append(len(part))
        write_records(part, folder / f"share-{share:g}.jsonl")
    types = {name: tuple(own) for name, own in counts.items()}
    return Parts(tuple(shares), tuple(totals), types, tuple(held_out))


def scaling_trials(recipe: Recipe, parts: Parts, folder: Path, seeds: int = 1) -> list[Trial]:
    """Make a trial of each part and seed, the smallest part first."""
    trials = []
    for share in parts.shares:
        for seed in range(seeds):
            label = {"share": f"{share:g}"} | ({"seed": str(seed)} if seeds > 1 else {})
            data = recipe.data.model_copy(
                update={
                    "train": [DataSource(path=str(folder / "data" / f"share-{share:g}.jsonl"))],
                    "eval": [DataSource(path=str(folder / "data" / "eval.jsonl"))],
                    "eval_share": 0.0,
                }
            )
            training = recipe.training.model_copy(update={"seed": recipe.training.seed + seed})
            update = {
                "name": trial_name(label),
                "runs_dir": str(folder / "runs"),
                "data": data,
                "training": training,
            }
            trials.append(Trial(label, recipe.model_copy(update=update)))
    return trials


@dataclass(frozen=True)
class Line:
    """What was found of one task type, or of all together.

    Attributes:
        name: The task type, or ``all``.
        records: ``(S,)``: training records.
        losses: ``(S,)``: loss on the held-out records, in nats per token.
        held_out: How many held-out records that are.
        forecast: What twice the data would do.
    """

    name: str
    records: tuple[int, ...]
    losses: tuple[float, ...]
    held_out: int
    forecast: Forecast


def lines_of(
    parts: Parts,
    task_types: Sequence[str],
    nats_SR: NDArray[np.float64],
    tokens_R: NDArray[np.float64],
) -> list[Line]:
    """Fit all together, and each task type that has enough held-out records.

    Args:
        parts: The parts that were trained.
        task_types: ``(R,)`` of the held-out records.
        nats_SR: Loss of each held-out record with each part, the mean over seeds.
        tokens_R: Tokens of each.
    """
    names = np.array(task_types)
    groups = [(WHOLE, np.ones(len(names), np.bool_), parts.records)]
    groups += [(name, names == name, count) for name, count in sorted(parts.types.items())]
    found = []
    for name, chosen_R, records in groups:
        enough = int(chosen_R.sum()) >= FEWEST_HELD_OUT or name == WHOLE
        if not enough or len(set(records)) < len(records):
            continue
        nats, tokens = nats_SR[:, chosen_R], tokens_R[chosen_R]
        losses = tuple((nats.sum(1) / tokens.sum()).tolist())
        line = forecast(records, nats, tokens)
        found.append(Line(name, tuple(records), losses, int(chosen_R.sum()), line))
    return found


def measured(
    trials: Sequence[Trial], parts: Parts, device: str = "auto"
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Ask each trained model for the loss of each held-out record.

    Returns:
        Task types ``(R,)``; nats ``(S, R)``, the mean over the seeds of a part; tokens ``(R,)``.
        Records that a model cannot read are left out.

    Raises:
        ModelError: If a trial has saved no model.
    """
    from danlu.training.likelihood import Judge, likelihoods

    rows: dict[str, list[list[float]]] = defaultdict(list)
    tokens: list[float] = []
    usable = np.ones(len(parts.held_out), np.bool_)
    for trial in trials:
        judge = Judge.load(str(trial.run), device=device)
        found = list(likelihoods(judge, parts.held_out, trial.recipe.sequences, alone=False))
        usable &= np.array([one.given is not None for one in found])
        rows[trial.label["share"]].append([one.given.nats if one.given else 0.0 for one in found])
        tokens = [one.given.tokens if one.given else 0.0 for one in found]
    nats_SR = np.array([np.mean(own, axis=0) for own in rows.values()])
    types = [one.task_type for one, ok in zip(parts.held_out, usable, strict=True) if ok]
    return types, nats_SR[:, usable], np.asarray(tokens)[usable]
