"""Signs on held-out records: what is learned in training and lost, or never found, outside it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from typing import Literal

import numpy as np

from danlu.diagnosis.curves.curves import RunCurves, Series
from danlu.diagnosis.curves.statistics import mean
from danlu.runs.findings import Confidence, Evidence, Finding, Remedy
from danlu.runs.wording import loss

LEAST_RISE = 0.05
"""A held-out loss that rises by less than this share from its best is not called rising."""
SURE_RISE, SURE_RECORDS = 0.10, 20
"""From here on, and of so many records, a finding may be sure."""
LEAST_FALL = 0.15
"""By so much the training loss must have fallen meanwhile."""
WORSE = 1.2
"""Training loss so many times the held-out loss, of the same model, is of worse answers."""
MIN_ROWS = 6
LEAST_GAIN = 0.02
"""A held-out loss that was never better than at first by more than this share never fell."""


def held_out(curves: RunCurves) -> Iterator[Finding]:
    """Find training loss that falls while that of held-out records rises, or never falls."""
    found = {name: one for name in curves.eval if (one := _one(curves, name)) is not None}
    whole = found.pop(None, None)
    names = [name for name in found if name is not None]
    if whole is not None:
        more = (
            Evidence(says=f"Task types in which it is so: {', '.join(names)}.") if names else None
        )
        yield (
            whole
            if more is None
            else whole.model_copy(update={"evidence": (*whole.evidence, more)})
        )
        return
    yield from found.values()
    yield from _strangers(curves)


def _one(curves: RunCurves, name: str | None) -> Finding | None:
    outside, inside = curves.eval[name], curves.train.get(name)
    if inside is None or len(outside) < 2 or len(inside) < 3:
        return None
    values = outside.values
    best = int(values.argmin())
    rise = float(values[-1] / max(values[best], 1e-9)) - 1
    gain = 1 - float(values[best] / max(values[0], 1e-9))
    fall = 1 - inside.end / max(inside.start, 1e-9)
    if rise < LEAST_RISE or fall < LEAST_FALL or values[-1] - values[best] < 0.02:
        return None
    records = int(outside.records[-1])
    sure = rise >= SURE_RISE and records >= SURE_RECORDS and (name is None or gain < LEAST_GAIN)
    never = outside.steps[0] == 0 and gain < LEAST_GAIN
    make = _does_not_generalise if never else _overfits
    return make(
        curves, outside, inside, best, "high" if sure else "medium" if name is None else "low"
    )


def _seen(outside: Series, inside: Series, best: int) -> Evidence:
    where, end = int(outside.steps[best]), int(outside.steps[-1])
    then = float(inside.values[inside.steps <= where][-1]) if where >= inside.steps[0] else None
    records = int(outside.records[-1])
    began = inside.start if then is None else then
    return Evidence(
        says=f"On {records} held-out records it was {loss(outside.values[best])} at step {where} "
        f"and is {loss(outside.values[-1])} at step {end}; in training it went from "
        f"{loss(began)} to {loss(inside.end)} meanwhile.",
        figures={
            "best": float(outside.values[best]),
            "best_step": where,
            "last": float(outside.values[-1]),
            "records": records,
            "train_last": inside.end,
        },
        steps=(where, end),
    )


def _overfits(
    curves: RunCurves, outside: Series, inside: Series, best: int, confidence: Confidence
) -> Finding:
    where = int(outside.steps[best])
    name = outside.task_type
    of = f" of {name}" if name else ""
    epochs = where / curves.steps_per_epoch
    kept = curves.settings.get("evaluation", {}).get("keep_best", True) and name is None
    ends = " The run ends with the weights of the best step all the same." if kept else ""
    severity: Literal["warning", "note"] = (
        "warning" if name is None or confidence == "high" else "note"
    )
    return Finding(
        name="overfits",
        task_type=name,
        says=f"From step {where} on the held-out loss{of} rises while the training loss falls: "
        f"what is learned after that is memory.{ends}",
        severity=severity,
        confidence=confidence,
        evidence=(_seen(outside, inside, best),),
        remedies=(
            Remedy(
                says=f"Stop after about {epochs:.2g} epochs, or find what it clings to (danlu "
                "probe pattern) and vary that; more varied records help more than settings.",
                settings={"training.epochs": round(max(epochs, 0.5), 2)} if name is None else {},
            ),
        ),
    )


def _does_not_generalise(
    curves: RunCurves, outside: Series, inside: Series, best: int, confidence: Confidence
) -> Finding:
    name = outside.task_type
    of = f" of {name}" if name else ""
    return Finding(
        name="does-not-generalise",
        task_type=name,
        says=f"The training loss{of} falls, but on held-out records it was never lower than before "
        "training: what is learned from the ones is of no use for the others.",
        severity="serious" if name is None else "warning",
        confidence=confidence,
        evidence=(_seen(outside, inside, best),),
        remedies=(
            Remedy(
                says="Read training and held-out records side by side: do answers belong to their "
                "prompts, and are both of the same task? Knowledge that only single records hold "
                "cannot be learned from others.",
                commands=("danlu data show DATA",),
            ),
        ),
    )


def worse_inside(curves: RunCurves) -> Iterator[Finding]:
    """Find task types whose training records are harder than the held-out ones and stay so.

    After an evaluation the model only gets better, so the training loss of the steps that follow is
    no more than it, unless the answers are worse.
    """
    for name, outside in curves.eval.items():
        inside = curves.train.get(name)
        if name is None or inside is None or outside.records[-1] < SURE_RECORDS / 2:
            continue
        since = outside.steps[outside.steps > 0][:-1]
        if not len(since):
            continue
        own = inside.steps > since[0]
        before = outside.values[np.searchsorted(outside.steps, inside.steps[own], "left") - 1]
        above = inside.values[own] - before
        if len(above) < MIN_ROWS:
            continue
        error = float(np.std(above, ddof=1)) / math.sqrt(len(above))
        excess, level = mean(above, inside.weights[own]), float(before.mean())
        at_first = inside.start / max(float(outside.values[0]), 1e-9)
        ratio = 1 + excess / max(level, 1e-9)
        if excess > 4 * error and ratio >= WORSE and ratio >= at_first * (1 + LEAST_RISE):
            yield _worse(outside, inside, level, excess, int(since[0]))


def _worse(outside: Series, inside: Series, level: float, excess: float, since: int) -> Finding:
    name = outside.task_type
    return Finding(
        name="worse-than-held-out",
        task_type=name,
        says=f"The training records of {name} are harder than the held-out ones, by {excess:.2f} "
        "nats per token, and stay so: their answers may be wrong, or not belong to their prompts.",
        severity="warning",
        confidence="medium",
        evidence=(
            Evidence(
                says=f"Since step {since} the held-out loss is {loss(level)} on average, and that "
                f"of the steps after each evaluation {loss(level + excess)}; before training both "
                f"were {loss(float(outside.values[0]))} and {loss(inside.start)}.",
                figures={"held_out": level, "excess": excess},
                steps=(since,),
            ),
        ),
        remedies=(
            Remedy(
                says="Read some of them beside held-out ones.",
                commands=(
                    f"danlu data show DATA --sample 10 --task-type {shlex.quote(name or '')}",
                ),
            ),
        ),
    )


def _strangers(curves: RunCurves) -> Iterator[Finding]:
    """Find task types that are evaluated and never trained."""
    strangers = [name for name in curves.eval if name is not None and name not in curves.train]
    kinds = [name for name in curves.eval if name is not None]
    if not strangers:
        return
    yield Finding(
        name="evaluates-other-tasks",
        says=f"{len(strangers)} of {len(kinds)} task types that are evaluated are not trained: "
        "the held-out loss says little of what is learned.",
        severity="warning" if len(strangers) == len(kinds) else "note",
        confidence="high" if len(strangers) == len(kinds) else "medium",
        evidence=(Evidence(says=f"Not trained: {', '.join(strangers)}."),),
        remedies=(
            Remedy(
                says="Hold out records of the training data itself.",
                settings={"data.eval_share": 0.05},
            ),
        ),
    )
