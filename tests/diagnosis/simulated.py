"""Runs made of arithmetic, record by record, with the noise of real ones, and with faults in them.

Each record has a difficulty of its own and is learned a little when it is seen; a batch is the mean
over the tokens of its records. So a small batch is noisy, the noise has a heavy tail, short answers
are noisier than long ones, and an epoch's mean is over the same records.

``tools/curve_alarms.py`` measures on them the rates that ``docs/diagnosis.md`` states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from danlu.diagnosis.curves.curves import RunCurves
from danlu.runs import ChannelMetrics, History, MetricsRow


@dataclass(frozen=True)
class Shape:
    """What a simulated run is like.

    Attributes:
        records: Of each task type.
        tokens: Of a record, on average, per task type.
        start: Loss before training, per task type.
        floor: What can be learned, as a share of the start.
        epochs: Passes.
        batch: Records per step.
        speed: How many times the general loss falls to 1/e of what is left, over the run.
        memory: By which share a record's loss falls each time that it was seen.
        spread: Of the records' difficulty, as the standard deviation of its logarithm.
        held_out: Held-out records per task type.
        every: Steps between rows.
        rate: Peak learning rate.
    """

    records: tuple[int, ...]
    tokens: tuple[float, ...]
    start: tuple[float, ...]
    floor: tuple[float, ...]
    epochs: float = 3.0
    batch: int = 16
    speed: float = 3.0
    memory: float = 0.05
    spread: float = 0.4
    held_out: int = 20
    every: int = 1
    rate: float = 2e-4

    @property
    def names(self) -> list[str]:
        """Task types."""
        return [f"area/skill{k}" for k in range(len(self.records))]


@dataclass(frozen=True)
class Fault:
    """What goes wrong: each is a number that is 0 in a sound run.

    Attributes:
        rises: The loss grows by this share of its start over the second half.
        jumps: It is this many times higher after the first tenth.
        swings: It goes up and down by this share, four times.
        type_rises: The first task type's loss grows by this share over the run.
        overfits: The held-out loss grows by this share over the last two thirds.
        spike: A record whose gradient is this many times the others'.
        constant: Nothing is learned.
        offset: Nats added to every loss.
    """

    rises: float = 0.0
    jumps: float = 0.0
    swings: float = 0.0
    type_rises: float = 0.0
    overfits: float = 0.0
    spike: float = 0.0
    constant: float = 0.0
    offset: float = 0.0


def clean_shape(seed: int) -> Shape:
    """Draw the shape of a sound run: a dozen steps to many hundreds, of one type or several."""
    rng = np.random.default_rng([seed, 1])
    kinds = int(rng.integers(1, 7))
    records = rng.integers(12, 400, kinds)
    batch = int(rng.choice([4, 8, 16, 32]))
    epochs = float(rng.choice([1, 1, 2, 3, 3, 4, 5]))
    most = int(1500 * batch / epochs)
    records = np.maximum(8, records * min(1.0, most / records.sum())).astype(int)
    return Shape(
        records=tuple(records.tolist()),
        tokens=tuple(np.exp(rng.uniform(np.log(12), np.log(150), kinds)).tolist()),
        start=tuple(rng.uniform(0.8, 4.0, kinds).tolist()),
        floor=tuple(rng.uniform(0.25, 0.7, kinds).tolist()),
        epochs=epochs,
        batch=batch,
        speed=float(rng.uniform(1.5, 6.0)),
        memory=float(rng.uniform(0.0, 0.1)),
        spread=float(rng.uniform(0.2, 0.7)),
        held_out=int(rng.choice([0, 5, 20, 50])),
        every=int(rng.choice([1, 1, 1, 5])),
    )


def simulate(shape: Shape, seed: int = 0, fault: Fault = Fault()) -> list[MetricsRow]:
    """Return the rows of a run."""
    rng = np.random.default_rng([seed, 2])
    of = np.repeat(np.arange(len(shape.records)), shape.records)
    count = len(of)
    tokens = np.maximum(2, rng.gamma(4, np.array(shape.tokens)[of] / 4)).astype(int)
    # Student's t with four degrees: now and then a record is many times as hard as the others.
    difficulty = np.exp(shape.spread * np.clip(rng.standard_t(4, count), -6, 4) / np.sqrt(2))
    difficulty /= difficulty.mean()
    per_epoch = -(-count // shape.batch)
    steps = max(1, int(np.ceil(per_epoch * shape.epochs)))
    seen = np.zeros(count)
    culprit = int(rng.integers(count))
    rows = [_held_out(shape, 0, 0.0, fault)] if shape.held_out else []
    pending: list[tuple[Any, ...]] = []
    order = np.arange(count)
    for step in range(steps):
        place = step % per_epoch
        if place == 0:
            order = rng.permutation(count)
        own = order[place * shape.batch : (place + 1) * shape.batch]
        level = _level(shape, step / steps, fault)[of[own]]
        wobble = rng.normal(0, 0.6 / np.sqrt(tokens[own]))
        loss = level * difficulty[own] * (1 - shape.memory) ** seen[own] * np.exp(wobble)
        loss = loss + fault.offset
        seen[own] += not fault.constant
        norm = float(np.exp(0.25 * np.clip(rng.standard_t(5), -5, 5)) * (0.6 + 0.4 * loss.mean()))
        if fault.spike and culprit in own:
            norm *= fault.spike
        pending.append((own, loss, tokens[own]))
        if (step + 1) % shape.every == 0 or step + 1 == steps:
            rows.append(_row(shape, of, pending, step + 1, (step + 1) / per_epoch, norm))
            pending = []
        if shape.held_out and ((step + 1) % per_epoch == 0 or step + 1 == steps):
            rows.append(_held_out(shape, step + 1, (step + 1) / steps, fault))
    return rows


def curves(
    shape: Shape, seed: int = 0, fault: Fault = Fault(), *, finished: bool = True, **settings: Any
) -> RunCurves:
    """Return a simulated run as the detectors are given it."""
    given = {"training": {"learning_rate": shape.rate}, **settings}
    history = History.of(simulate(shape, seed, fault))
    return RunCurves.of(history, given, finished=finished, parameters=135_000_000)


def without_evaluation(shape: Shape) -> Shape:
    return replace(shape, held_out=0)


def _level(shape: Shape, done: float, fault: Fault) -> np.ndarray:
    """Loss of each task type where a share of the run is done, ``(K,)``."""
    start, floor = np.array(shape.start), np.array(shape.floor)
    warm = done - 0.03 * (1 - np.exp(-done / 0.03))  # the first steps move little
    level = start * (floor + (1 - floor) * np.exp(-shape.speed * warm))
    if fault.constant:
        level = start.copy()
    level += start * fault.rises * max(0.0, done - 0.5) * 2
    if fault.jumps:
        level = start * (1 + fault.jumps * min(1.0, done / 0.1))
    level *= 1 + fault.swings * np.sin(8 * np.pi * done) * (done > 0.1)
    if fault.type_rises:
        level[0] = start[0] * (1 + fault.type_rises * done)
    return level


def _row(
    shape: Shape,
    of: np.ndarray,
    pending: list[tuple[Any, ...]],
    step: int,
    epoch: float,
    norm: float,
) -> MetricsRow:
    own, loss, tokens = (np.concatenate(part) for part in zip(*pending, strict=True))
    channels = {}
    for k, name in enumerate(shape.names):
        mine = of[own] == k
        if mine.any():
            channels[name] = ChannelMetrics(
                loss=float(np.average(loss[mine], weights=tokens[mine])),
                tokens=int(tokens[mine].sum()),
                records=int(mine.sum()),
            )
    return MetricsRow(
        step=step,
        epoch=epoch,
        loss=float(np.average(loss, weights=tokens)),
        learning_rate=shape.rate,
        grad_norm=norm,
        supervised_tokens=int(tokens.sum()),
        channels=channels,
    )


def _held_out(shape: Shape, step: int, done: float, fault: Fault) -> MetricsRow:
    level = _level(shape, done, fault) * (1 + fault.overfits * max(0.0, done - 1 / 3) * 1.5) * 1.05
    level = level + fault.offset
    weights = np.array(shape.tokens) * shape.held_out
    channels = {
        name: ChannelMetrics(loss=float(value), tokens=int(weight), records=shape.held_out)
        for name, value, weight in zip(shape.names, level, weights, strict=True)
    }
    return MetricsRow(
        step=step,
        epoch=done * shape.epochs,
        split="eval",
        loss=float(np.average(level, weights=weights)),
        supervised_tokens=int(weights.sum()),
        channels=channels,
    )


FAULTS = {
    "offset": (Fault(offset=6.0), "initial-loss-high"),
    "rises": (Fault(rises=0.5), "loss-rises"),
    "jumps": (Fault(jumps=1.5), "loss-rises"),
    "constant": (Fault(constant=1.0), "hardly-learns"),
    "swings": (Fault(swings=0.3), "oscillates"),
    "overfits": (Fault(overfits=1.0), "overfits"),
    "spike": (Fault(spike=15.0), "gradient-spikes"),
    "type_rises": (Fault(type_rises=0.4), "interference"),
}
"""Each fault with the finding that names it."""
