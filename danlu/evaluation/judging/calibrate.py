"""A judge's results, set right by people's labels on some of the same answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from danlu.evaluation.statistics.agreement import cohen_kappa
from danlu.evaluation.statistics.calibration import (
    Estimate,
    prediction_powered_mean,
    rogan_gladen,
)
from danlu.evaluation.statistics.proportions import wilson

K = TypeVar("K")
LEAST_OF_EACH = 5
"""Labels that are needed of usable and of unusable answers: with fewer the judge's errors are not
known well enough to be taken out."""
LEAST_SCORES = 10
"""Labels that are needed to set a mean right: its interval is a normal one."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A share or mean as people would have found it.

    Attributes:
        labels: Answers that both people and the judge have judged.
        agreement: Cohen's kappa of judge and people; None for scores, or where it is undefined.
        caught: Of the answers that people call usable, how many the judge does, and of how many;
            None for scores.
        cleared: The same of unusable.
        people: The share of usable among the labelled answers alone, with Wilson's interval; None
            for scores. Where the judge is poor, it says more than the estimate.
        estimate: The share or mean, with its interval; None if the labels do not suffice.
        why: Why there is none.
    """

    labels: int
    agreement: float | None = None
    caught: tuple[int, int] | None = None
    cleared: tuple[int, int] | None = None
    people: Estimate | None = None
    estimate: Estimate | None = None
    why: str = ""


def calibrated_share(judged: Mapping[K, bool], labels: Mapping[K, bool]) -> Calibrated:
    """Return the share of usable answers as people would see it, by Rogan and Gladen.

    Args:
        judged: By answer, whether the judge calls it usable.
        labels: By answer, whether people do; those that the judge has not judged are passed over.

    Example:
        >>> judged = {k: k % 10 < 7 for k in range(100)}
        >>> found = calibrated_share(judged, {k: k % 10 < 6 for k in range(50)})
        >>> print(found.caught, found.cleared, round(found.estimate.value, 3))
        (30, 30) (15, 20) 0.6
    """
    both = [(judged[key], label) for key, label in labels.items() if key in judged]
    usable = [judge for judge, people in both if people]
    unusable = [not judge for judge, people in both if not people]
    caught, cleared = (sum(usable), len(usable)), (sum(unusable), len(unusable))
    alone = None
    if both:
        low, high = wilson(len(usable), len(both))
        alone = Estimate(len(usable) / len(both), float(low), float(high))
    made = Calibrated(len(both), _kappa(both), caught, cleared, alone)
    if min(len(usable), len(unusable)) < LEAST_OF_EACH:
        why = f"people's labels: {len(usable)} usable, {len(unusable)} not; {LEAST_OF_EACH} needed"
        return replace(made, why=f"{why} of each")
    try:
        share = rogan_gladen(sum(judged.values()), len(judged), caught=caught, cleared=cleared)
    except ValueError as error:
        return replace(made, why=str(error))
    return replace(made, estimate=share)


def calibrated_mean(judged: Mapping[K, float], labels: Mapping[K, float]) -> Calibrated:
    """Return the mean score as people would give it: the prediction-powered mean, tuned.

    Args:
        judged: By answer, the judge's score.
        labels: By answer, people's; those that the judge has not judged are passed over.

    Example:
        >>> judged = {k: 5.0 + k % 3 for k in range(60)}
        >>> found = calibrated_mean(judged, {k: judged[k] - 1 for k in range(12)})
        >>> print(f"{found.estimate.value:.1f}")
        5.0
    """
    keys = [key for key in labels if key in judged]
    rest = [score for key, score in judged.items() if key not in labels]
    if len(keys) < LEAST_SCORES or len(rest) < 2:
        why = f"{len(keys)} labelled and {len(rest)} unlabelled scores; {LEAST_SCORES} and 2 needed"
        return Calibrated(len(keys), why=why)
    mean = prediction_powered_mean(
        [labels[key] for key in keys], [judged[key] for key in keys], rest, tuned=True
    )
    return Calibrated(len(keys), estimate=mean)


def calibrated_win_rate(judged: Mapping[K, float], labels: Mapping[K, float]) -> Calibrated:
    """Return the win rate as people would see it, with how far the judge agrees with them.

    Args:
        judged: By pair, 1, 0.5 or 0 by the judge.
        labels: By pair, the same by people.
    """
    made = calibrated_mean(judged, labels)
    both = [(judged[key], label) for key, label in labels.items() if key in judged]
    estimate = made.estimate
    if estimate is not None:
        estimate = Estimate(*(min(max(value, 0.0), 1.0) for value in estimate))
    return Calibrated(len(both), _kappa(both), estimate=estimate, why=made.why)


def _kappa(both: Sequence[tuple[object, object]]) -> float | None:
    if not both:
        return None
    try:
        return cohen_kappa([str(one) for one, _ in both], [str(two) for _, two in both])
    except ValueError:  # one and the same label throughout: kappa is 0/0
        return None
