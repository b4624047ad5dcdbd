"""What a comparison says: a tree of task types, and the prompts that moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from danlu.errors import EvaluationError
from danlu.evaluation.rows import Incomplete

FEWEST_RESAMPLES = 100
"""With fewer, no p value below 0.01 can come out."""


class Verdict(StrEnum):
    """What can be said of B against A.

    Attributes:
        BETTER: The difference is more than noise, and upward.
        WORSE: It is more than noise, and downward.
        SAME: None was seen, and one as great as the margin would most likely have been.
        FEW: None was seen, and one as great as the margin might well have been missed.
    """

    BETTER = "better"
    WORSE = "worse"
    SAME = "no difference seen"
    FEW = "too few to see"

    @property
    def moved(self) -> bool:
        """Whether there is a difference."""
        return self in (Verdict.BETTER, Verdict.WORSE)


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """How two versions are compared.

    Attributes:
        confidence: Of the intervals.
        level: Of the tests, after correction for how many there are.
        power: With which the smallest difference that could have been seen would be seen.
        resamples: Of bootstrap and sign flips.
        seed: Of both; a task type draws its own numbers, whatever else is compared.
        correction: ``bh`` for screening: of the task types called, at most ``level`` wrongly, on
            average. ``holm`` for a gate: at most ``level`` chance of any wrong call.
        mid_p: McNemar's mid-p instead of the exact test; see ``statistics.mcnemar``.
        incomplete: Prompts without a score on one side: ``error``, or ``count`` and leave out.

    Raises:
        EvaluationError: If one of them is none of what is allowed.
    """

    confidence: float = 0.95
    level: float = 0.05
    power: float = 0.8
    resamples: int = 10_000
    seed: int = 0
    correction: Literal["bh", "holm"] = "bh"
    mid_p: bool = False
    incomplete: Incomplete = "error"

    def __post_init__(self) -> None:
        for name in ("confidence", "level", "power"):
            if not 0 < getattr(self, name) < 1:
                value = getattr(self, name)
                raise EvaluationError(f"is {value}; it must lie between 0 and 1.", where=name)
        if self.resamples < FEWEST_RESAMPLES:
            raise EvaluationError(
                f"is {self.resamples}; it must be at least {FEWEST_RESAMPLES}.", where="resamples"
            )
        if self.seed < 0:
            raise EvaluationError(f"is {self.seed}; it must be 0 or more.", where="seed")
        for name, allowed in (("correction", ("bh", "holm")), ("incomplete", ("error", "count"))):
            if getattr(self, name) not in allowed:
                value, others = getattr(self, name), ", ".join(allowed)
                raise EvaluationError(f"is {value!r}; allowed: {others}.", where=name)


@dataclass(frozen=True, slots=True)
class Side:
    """One version's score.

    Attributes:
        score: Mean, in units of the score; of areas and of all, the weighted mean of the task
            types' scores as shares of their ranges.
        low: Lower end of its interval (Wilson's for right and wrong); None where it has none.
        high: Upper end.
    """

    score: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A task type, an area, or all.

    Attributes:
        name: ``area/skill``, the area, or ``all``.
        kind: Which of the three.
        prompts: With a score in both versions.
        clusters: Independent groups of them.
        missing_a: Prompts without a score of A, left out.
        missing_b: Prompts without a score of B, left out.
        only_a: Prompts that B was not asked, left out.
        only_b: Prompts that A was not asked, left out.
        a: The earlier version.
        b: The later.
        difference: B - A.
        low: Lower end of its interval, not corrected for how many there are; None with one cluster.
        high: Upper end.
        test: Where ``p`` comes from.
        p: Two-sided, on its own.
        p_adjusted: Corrected; the verdict goes by it.
        verdict: Of B against A.
        smallest: The smallest difference that these prompts could have shown, after correction,
            with the power of the settings; None if none could.
        margin: The smallest difference that matters.
        critical: Whether the gate asks for it.
        differs: Of areas: whether something differs in some of its task types, which is what opens
            them for tests of their own; None of the others.
        children: Areas of all; task types of an area.
    """

    name: str
    kind: Literal["all", "area", "task_type"]
    prompts: int
    clusters: int
    missing_a: int
    missing_b: int
    only_a: int
    only_b: int
    a: Side
    b: Side
    difference: float
    low: float | None
    high: float | None
    test: Literal["mcnemar", "sign-flip"]
    p: float
    p_adjusted: float
    verdict: Verdict
    smallest: float | None
    margin: float
    critical: bool
    differs: bool | None = None
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """Give this node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Move:
    """A prompt whose score changed.

    Attributes:
        prompt: Its id.
        task_type: ``area/skill``.
        a: Score of A.
        b: Score of B.
        change: B - A, as a share of the range.
    """

    prompt: str
    task_type: str
    a: float
    b: float
    change: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A.

    Attributes:
        settings: With which it was made.
        overall: The tree: all, areas, task types.
        regressions: Prompts that lost, greatest loss first.
        improvements: Prompts that gained, greatest gain first.
    """

    settings: CompareSettings
    overall: Node
    regressions: tuple[Move, ...]
    improvements: tuple[Move, ...]

    @property
    def task_types(self) -> list[Node]:
        """The leaves, by name."""
        return [node for node in self.overall.walk() if node.kind == "task_type"]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return asdict(self)
