"""Is a regression real: the worst prompts asked again and again, of both versions.

The worst of many prompts look worse than they are: they were selected for it. So the samples that
selected them are thrown away, both versions are asked afresh, and as many prompts drawn at random
go along, which show how much the versions differ anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from danlu.errors import EvaluationError
from danlu.evaluation.comparison import Comparison
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.rows import Stakes
from danlu.evaluation.statistics import benjamini_hochberg, mantel_haenszel, pass_at_k
from danlu.evaluation.statistics.distributions import normal_quantile

PASS_SHARE = 0.5
"""Of a score's range, from which an answer passes; of right and wrong, right."""


class Finding(StrEnum):
    """What fresh samples say of a regression.

    Attributes:
        REAL: B passes less often than A, surely.
        NOISE: A loss as great as the margin is ruled out.
        FEW: It may be either: more samples are needed.
    """

    REAL = "real"
    NOISE = "noise"
    FEW = "too few samples"


@dataclass(frozen=True, slots=True)
class FluctuateSettings:
    """How fresh samples are judged.

    Attributes:
        samples: Drawn of each version for each prompt.
        prompts: Regressions asked again; as many controls.
        k: Of pass@k.
        margin: The smallest loss of pass@1 that matters.
        pass_share: Of a score's range, from which an answer passes.
        level: Of the tests.
        confidence: Of the intervals.
        seed: Draws the controls; samples have seeds of their own, counted from it.

    Raises:
        EvaluationError: If one of them is none of what is allowed.
    """

    samples: int = 20
    prompts: int = 20
    k: int = 10
    margin: float = 0.1
    pass_share: float = PASS_SHARE
    level: float = 0.05
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("samples", 2), ("prompts", 1), ("k", 1), ("seed", 0)):
            if getattr(self, name) < least:
                value = getattr(self, name)
                raise EvaluationError(f"is {value}; it must be {least} or more.", where=name)
        for name in ("margin", "pass_share", "level", "confidence"):
            value = getattr(self, name)
            if not 0 < value <= 1 or (value == 1 and name in ("level", "confidence")):
                raise EvaluationError(f"is {value}; it must lie between 0 and 1.", where=name)
        if self.k > self.samples:
            raise EvaluationError(
                f"is {self.k}, and only {self.samples} samples are drawn; lower k or raise "
                "samples.",
                where="k",
            )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The prompts that are asked again.

    Attributes:
        regressions: Ids, the greatest loss first.
        controls: Ids, drawn at random from the others.
    """

    regressions: tuple[str, ...]
    controls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Passed:
    """Fresh samples of one version.

    Attributes:
        drawn: Samples that have a score.
        passed: How many passed.
        missing: Samples without a score; they count as neither.
    """

    drawn: int
    passed: int
    missing: int = 0

    @property
    def rate(self) -> float:
        """Pass@1."""
        return self.passed / self.drawn


@dataclass(frozen=True, slots=True)
class Resampled:
    """A prompt asked again.

    Attributes:
        prompt: Its id.
        task_type: ``area/skill``.
        control: Whether it was drawn at random.
        a: Samples of the earlier version.
        b: Of the later.
        a_k: Pass@k of A; None where fewer than k samples have a score.
        b_k: Of B.
        difference: Of pass@1, B - A.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided, on its own.
        p_adjusted: Corrected (Benjamini-Hochberg) for how many prompts there are.
        finding: Of it.
    """

    prompt: str
    task_type: str
    control: bool
    a: Passed
    b: Passed
    a_k: float | None
    b_k: float | None
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    finding: Finding


@dataclass(frozen=True, slots=True)
class Pool:
    """Several prompts together.

    Attributes:
        prompts: How many.
        a: Mean pass@1 of the earlier version.
        b: Of the later.
        a_k: Mean pass@k; None where a prompt has none.
        b_k: Of B.
        difference: Of pass@1, B - A.
        low: Lower end of its interval.
        high: Upper end.
        p: Of Cochran, Mantel and Haenszel, two-sided; 1 where all samples of each prompt are alike.
        odds_ratio: Odds that B passes over those that A does; None where it has no number.
        odds_low: Lower end of its interval.
        odds_high: Upper end.
        finding: Of all of them.
    """

    prompts: int
    a: float
    b: float
    a_k: float | None
    b_k: float | None
    difference: float
    low: float
    high: float
    p: float
    odds_ratio: float | None
    odds_low: float | None
    odds_high: float | None
    finding: Finding


@dataclass(frozen=True, slots=True)
class Fluctuation:
    """What asking again has shown.

    Attributes:
        settings: With which it was judged.
        regressions: All selected prompts together; its finding is the answer.
        controls: All controls together; None if there were none to draw.
        prompts: One by one, regressions first.
        unasked: Prompts of which one version has fewer than two scored samples, left out.
    """

    settings: FluctuateSettings
    regressions: Pool
    controls: Pool | None
    prompts: tuple[Resampled, ...]
    unasked: tuple[str, ...]

    def headline(self) -> str:
        """Say the outcome in a sentence."""
        pool = self.regressions
        rates = f"pass@1 {pool.a:.3f} of A, {pool.b:.3f} of B"
        said = {
            Finding.REAL: f"The regressions are real: {rates}, p {pool.p:.2g}.",
            Finding.NOISE: f"The regressions are noise: {rates}; a loss of "
            f"{self.settings.margin:g} is ruled out.",
            Finding.FEW: f"Too few samples to say: {rates}, and the loss may be anything up to "
            f"{max(0.0, -pool.low):.3f}.",
        }[pool.finding]
        real = sum(one.finding is Finding.REAL for one in self.prompts if not one.control)
        return f"{said} Of {pool.prompts} prompts, {real} are surely worse by themselves."

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {"headline": self.headline(), **asdict(self)}


def choose(
    comparison: Comparison,
    prompts: Mapping[str, str],
    settings: FluctuateSettings,
    *,
    task_types: Iterable[str] | None = None,
) -> Chosen:
    """Choose the worst regressions, and as many prompts at random from the others.

    Args:
        comparison: Of the evaluations that select.
        prompts: Task type of every prompt that can be asked again, by id.
        settings: How many, and the seed of the controls.
        task_types: Only of these; None: of all.

    Raises:
        EvaluationError: If nothing regressed.
    """
    wanted = None if task_types is None else set(task_types)
    fit = {name for name, of in prompts.items() if wanted is None or of in wanted}
    lost = [move.prompt for move in comparison.regressions if move.prompt in fit]
    worst = tuple(lost[: settings.prompts])
    if not worst:
        raise EvaluationError(
            "no prompt that can be asked again lost score from A to B: there is nothing to ask."
        )
    others = sorted(fit - set(worst))
    rng = np.random.default_rng(settings.seed)
    drawn = rng.permutation(len(others))[: len(worst)]
    return Chosen(worst, tuple(others[place] for place in drawn))


def passed_samples(
    directory: EvalDirectory, stakes: Mapping[str, Stakes], share: float = PASS_SHARE
) -> dict[str, Passed]:
    """Count the samples that passed, by prompt."""
    types = directory.evaluation().task_types
    counts: dict[str, list[int]] = {}
    for row in directory.scores():
        if row.scorer != types[row.task_type].scorer:
            continue
        of = counts.setdefault(row.item, [0, 0, 0])
        if row.value is None:
            of[2] += 1
            continue
        range_ = stakes[row.task_type]
        of[0] += 1
        of[1] += (row.value - range_.low) / (range_.high - range_.low) >= share
    return {item: Passed(*of) for item, of in counts.items()}


def judge_samples(
    chosen: Chosen,
    a: Mapping[str, Passed],
    b: Mapping[str, Passed],
    task_types: Mapping[str, str],
    settings: FluctuateSettings,
) -> Fluctuation:
    """Say of fresh samples whether the regressions are real.

    Args:
        chosen: Which prompts they are.
        a: Samples of the earlier version, by prompt.
        b: Of the later.
        task_types: By prompt.
        settings: How to judge.

    Raises:
        EvaluationError: If no selected prompt has samples that count.

    Example:
        >>> chosen = Chosen(("p", "q"), ())
        >>> a = {"p": Passed(20, 18), "q": Passed(20, 15)}
        >>> b = {"p": Passed(20, 6), "q": Passed(20, 5)}
        >>> found = judge_samples(chosen, a, b, {"p": "a/b", "q": "a/b"}, FluctuateSettings())
        >>> found.regressions.finding.value
        'real'
    """
    asked = [(prompt, False) for prompt in chosen.regressions]
    asked += [(prompt, True) for prompt in chosen.controls]
    enough = [
        (prompt, control)
        for prompt, control in asked
        if all(prompt in side and side[prompt].drawn >= 2 for side in (a, b))
    ]
    left_out = tuple(prompt for prompt, control in asked if (prompt, control) not in enough)
    if all(control for _, control in enough):
        raise EvaluationError("none of the regressions has two scored samples of each version.")
    found: list[Resampled] = []
    pools: list[Pool | None] = []
    for controls in (False, True):
        group = [prompt for prompt, control in enough if control is controls]
        pools.append(pool_samples([(a[one], b[one]) for one in group], settings) if group else None)
        alone = [pool_samples([(a[one], b[one])], settings) for one in group]
        adjusted = benjamini_hochberg([one.p for one in alone]).tolist() if alone else []
        for prompt, one, p in zip(group, alone, adjusted, strict=True):
            found.append(
                Resampled(
                    prompt, task_types[prompt], controls, a[prompt], b[prompt], one.a_k, one.b_k,
                    one.difference, one.low, one.high, one.p, float(p),
                    _finding(one.difference, one.low, float(p), settings),
                )
            )  # fmt: skip
    assert pools[0] is not None
    return Fluctuation(settings, pools[0], pools[1], tuple(found), left_out)


def pool_samples(samples: Sequence[tuple[Passed, Passed]], settings: FluctuateSettings) -> Pool:
    """Pool prompts: each is a stratum, and only what differs within it counts.

    Args:
        samples: Of A and of B, one pair per prompt.
        settings: How to judge.
    """
    a, b = ([side[which] for side in samples] for which in (0, 1))
    rates = [float(np.mean([one.rate for one in side])) for side in (a, b)]
    difference = rates[1] - rates[0]
    reach = normal_quantile((1 + settings.confidence) / 2) * _error(samples)
    p, ratio = 1.0, None
    ends: tuple[float | None, float | None] = None, None
    tables = [[[two.passed, two.drawn - two.passed], [one.passed, one.drawn - one.passed]]
              for one, two in samples]  # fmt: skip
    if any(0 < one.passed + two.passed < one.drawn + two.drawn for one, two in samples):
        told = mantel_haenszel(tables, continuity=True, confidence=settings.confidence)
        p, ratio = told.p, _number(told.odds_ratio)
        ends = (_number(told.low), _number(told.high))
    low, high = max(-1.0, difference - reach), min(1.0, difference + reach)
    return Pool(
        prompts=len(samples),
        a=rates[0],
        b=rates[1],
        a_k=_pass_k(a, settings.k),
        b_k=_pass_k(b, settings.k),
        difference=difference,
        low=low,
        high=high,
        p=p,
        odds_ratio=ratio,
        odds_low=ends[0],
        odds_high=ends[1],
        finding=_finding(difference, low, p, settings),
    )


# Inner -----------------------------------------------------------------------------------


def _error(samples: Sequence[tuple[Passed, Passed]]) -> float:
    """Standard error of the mean difference of rates, the prompts given.

    Each rate's variance is that of (passed + 1) of (drawn + 2) (Agresti and Caffo 2000): ten of
    ten is no certainty.
    """
    variance = 0.0
    for pair in samples:
        for one in pair:
            rate = (one.passed + 1) / (one.drawn + 2)
            variance += rate * (1 - rate) / (one.drawn + 2)
    return math.sqrt(variance) / len(samples)


def _pass_k(side: Sequence[Passed], k: int) -> float | None:
    if any(one.drawn < k for one in side):
        return None
    return float(pass_at_k([one.drawn for one in side], [one.passed for one in side], k).mean())


def _finding(difference: float, low: float, p: float, settings: FluctuateSettings) -> Finding:
    if p <= settings.level and difference < 0:
        return Finding.REAL
    return Finding.NOISE if low > -settings.margin else Finding.FEW


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
