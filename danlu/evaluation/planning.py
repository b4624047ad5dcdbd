"""How many prompts a suite needs to show a drop, from what was seen of it so far."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from danlu.errors import EvaluationError
from danlu.evaluation.compared import stakes_of
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.rows import Incomplete, Pairs, pair
from danlu.evaluation.statistics import (
    cluster_sums,
    mean_prompts_needed,
    prompts_needed,
    smallest_difference,
    smallest_mean_difference,
)
from danlu.evaluation.statistics.clusters import cluster_error


@dataclass(frozen=True, slots=True)
class Need:
    """What one task type needs.

    Attributes:
        task_type: Its name; ``any`` of a plan from a stated discordance.
        prompts: It has now; None if there are none yet.
        discordance: Share of its prompts on which the versions disagree, one disagreement added;
            None for scores that are not right or wrong.
        deviation: Standard deviation of the paired differences, as a share of the range; None for
            right and wrong.
        needed: Prompts that show the drop.
        sees: The smallest drop that those it has show; None if there are none, or none shows.
    """

    task_type: str
    prompts: int | None
    discordance: float | None
    deviation: float | None
    needed: int
    sees: float | None

    @property
    def more(self) -> int:
        """Prompts to be written."""
        return max(0, self.needed - (self.prompts or 0))


@dataclass(frozen=True, slots=True)
class Plan:
    """How many prompts.

    Attributes:
        drop: That shall be seen, as a share of the scores' range.
        power: The chance to see it.
        level: Of a single test: that of all of them, shared among the task types.
        needs: Per task type.
    """

    drop: float
    power: float
    level: float
    needs: tuple[Need, ...]

    def headline(self) -> str:
        """Say in a sentence what is to be written."""
        short = [one.task_type for one in self.needs if one.prompts is not None and one.more]
        asked = f"a drop of {self.drop:g} with a chance of {self.power:.0%}"
        if all(one.prompts is None for one in self.needs):
            most = max(one.needed for one in self.needs)
            return f"To see {asked}, a task type needs {most:,} prompts."
        if not short:
            return f"Every task type has prompts enough to see {asked}."
        more = sum(one.more for one in self.needs)
        return (
            f"To see {asked}, {len(short)} of {len(self.needs)} task types need more prompts, "
            f"{more:,} in all."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        found = asdict(self)
        found["needs"] = [asdict(one) | {"more": one.more} for one in self.needs]
        return found


COLUMNS = ("task type", "prompts", "discordance", "deviation", "needed", "to write", "sees now")


def table_of(plan: Plan) -> tuple[tuple[str, ...], list[tuple[tuple[str, ...], tuple[Any, ...]]]]:
    """Return the columns in which anything stands, and per task type its cells and their values."""
    rows = []
    for one in plan.needs:
        there = one.prompts is not None
        values = (
            one.task_type,
            one.prompts,
            one.discordance,
            one.deviation,
            one.needed,
            one.more if there else None,
            (1.0 if one.sees is None else one.sees) if there else None,
        )
        cells = (
            one.task_type,
            f"{one.prompts:,}" if there else None,
            None if one.discordance is None else f"{one.discordance:.3f}",
            None if one.deviation is None else f"{one.deviation:.3f}",
            f"{one.needed:,}",
            f"{one.more:,}" if there else None,
            ("nothing" if one.sees is None else f"{one.sees:.3f}") if there else None,
        )
        rows.append((cells, values))
    kept = [k for k in range(len(COLUMNS)) if any(cells[k] is not None for cells, _ in rows)]
    return tuple(COLUMNS[k] for k in kept), [
        (tuple(cells[k] or "" for k in kept), tuple(values[k] for k in kept))
        for cells, values in rows
    ]


def plan_from(
    a: EvalDirectory,
    b: EvalDirectory,
    *,
    drop: float,
    power: float = 0.8,
    level: float = 0.05,
    incomplete: Incomplete = "error",
) -> Plan:
    """Plan from two evaluations: how often two versions disagree there is how often they will.

    Args:
        a: One version's evaluation of the suite.
        b: Another's.
        drop: That shall be seen.
        power: The chance to see it.
        level: Of all tests together.
        incomplete: What to do with prompts without a score.

    Raises:
        EvaluationError: If a value is out of range, or the evaluations cannot be compared.
    """
    check(drop, power, level)
    rows = a.scored_rows(), b.scored_rows()
    pairs = pair(*rows, stakes_of(b, rows), incomplete=incomplete)
    each = level / len(pairs)
    return Plan(drop, power, each, tuple(_need(one, drop, power, each) for one in pairs))


def plan_for(
    discordance: float,
    *,
    drop: float,
    power: float = 0.8,
    level: float = 0.05,
    task_types: int = 1,
) -> Plan:
    """Plan from a stated discordance, for right and wrong.

    Args:
        discordance: Share of prompts on which two versions disagree; 0.1 to 0.3 is usual.
        drop: That shall be seen.
        power: The chance to see it.
        level: Of all tests together.
        task_types: How many are tested.

    Example:
        >>> plan_for(0.15, drop=0.03).needs[0].needed
        1372
    """
    check(drop, power, level)
    if not drop <= discordance <= 1:
        raise EvaluationError(
            f"is {discordance}; it is a share of the prompts, at most 1 and at least the drop, "
            f"{drop:g}, for each prompt that is lost is a disagreement.",
            where="discordance",
        )
    each = level / task_types
    needed = prompts_needed(drop, discordance, power=power, level=each)
    need = Need("any", None, discordance, None, needed, None)
    return Plan(drop, power, each, (need,))


def check(drop: float, power: float, level: float) -> None:
    """Check what is asked for.

    Raises:
        EvaluationError: If a value is out of range.
    """
    for name, value in (("drop", drop), ("power", power), ("level", level)):
        if not 0 < value < 1:
            hint = " It is a share: 0.03 is three points." if name == "drop" else ""
            raise EvaluationError(f"is {value:g}; it must lie between 0 and 1.{hint}", where=name)


def _need(pairs: Pairs, drop: float, power: float, level: float) -> Need:
    n, differences = len(pairs.a), pairs.b - pairs.a
    scores = np.concatenate([pairs.a, pairs.b])
    of = cluster_sums(differences, pairs.clusters)
    if len(of.sums) == n and bool(((scores == 0) | (scores == 1)).all()):
        apart = (int((differences != 0).sum()) + 1) / (n + 2)
        needed = prompts_needed(drop, max(apart, drop), power=power, level=level)
        sees = smallest_difference(n, apart, power=power, level=level)
        return Need(pairs.task_type, n, apart, None, needed, sees)
    if len(of.sums) < 2:
        raise EvaluationError(
            "all its prompts are one cluster: how much they vary cannot be known.",
            where=pairs.task_type,
        )
    # As if each prompt stood alone: clusters make the error greater, and so the deviation.
    error = cluster_error(of)
    deviation = max(error * n**0.5, 1e-6)
    needed = mean_prompts_needed(drop, deviation, power=power, level=level)
    sees = smallest_mean_difference(error, len(of.sums) - 1, power=power, level=level)
    return Need(pairs.task_type, n, None, deviation, needed, sees or None)
