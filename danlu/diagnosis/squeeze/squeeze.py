"""The squeeze, in order: what can be learned at all, then the setting between the ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from danlu.diagnosis.squeeze.plan import Plan
from danlu.diagnosis.squeeze.scores import Scores
from danlu.diagnosis.squeeze.search import Ending, Verdict, ending, next_setting
from danlu.diagnosis.sweep.trials import Trial

Outcome = Ending | Literal["ceiling", "unfinished"]
ROUNDING = 1e-9


class Measurer(Protocol):
    """Trains what is to be tried, and asks it."""

    def measure(self, trial: Trial) -> Scores | None:
        """Train, unless that was done, and ask; None if there is no time for it."""
        ...

    def before(self) -> Scores:
        """Return what the model before training came to; after the first trial."""
        ...


@dataclass(frozen=True)
class Tried:
    """A trial and what it came to.

    Attributes:
        trial: The trial.
        setting: What it was trained with; None for the target alone, where that is no setting.
        scores: What it came to.
        verdict: Whether that will do.
    """

    trial: Trial
    setting: float | None
    scores: Scores
    verdict: Verdict


@dataclass
class Squeezed:
    """What was found.

    Attributes:
        plan: What was wanted.
        before: The model before training: the lower end, at which nothing is forgotten.
        tried: In the order in which they were trained; the target alone first.
        outcome: ``found``; ``ceiling``: not even the target alone is learned; ``apart``: where it
            is learned, too much is forgotten; ``never-learned``: at no setting; ``unfinished``: the
            runs or the time were over before any of that was known.
    """

    plan: Plan
    before: Scores | None = None
    tried: list[Tried] = field(default_factory=list)
    outcome: Outcome = "unfinished"

    @property
    def verdicts(self) -> Mapping[float, Verdict]:
        """The verdict of each setting."""
        return {one.setting: one.verdict for one in self.tried if one.setting is not None}

    @property
    def by_setting(self) -> list[Tried]:
        """Trials that have a setting, rising."""
        own = [one for one in self.tried if one.setting is not None]
        return sorted(own, key=lambda one: one.setting or 0.0)

    @property
    def best(self) -> Tried | None:
        """The trial to use: of those that will do, the one with the most right on both sides.

        Of equals it is the one that is farthest from settings that will not do, and of those again
        the one that finds right answers likelier.
        """
        knob = self.plan.knob
        outside = [knob.low, *(one for one, verdict in self.verdicts.items() if not verdict.fits)]

        def worth(one: Tried) -> tuple[float, float, float]:
            assert one.setting is not None
            sides = (one.scores.target, one.scores.general)
            nearest = min(abs(knob.gap(*sorted((one.setting, other)))) for other in outside)
            likely = sum(side.probability or 0.0 for side in sides)
            return round(sum(side.share for side in sides), 9), round(nearest, 6), likely

        return max((one for one in self.by_setting if one.verdict.fits), key=worth, default=None)


def squeeze(plan: Plan, measurer: Measurer) -> Squeezed:
    """Bound, then bisect.

    Args:
        plan: What is wanted.
        measurer: Trains and asks.

    Raises:
        DanluError: If a training fails, or nothing can be asked.
    """
    found, wish, knob = Squeezed(plan), plan.wish, plan.knob
    for number, trial in enumerate(plan.alone()):
        # The target alone is a share like others, so it need not be trained again for that.
        is_setting = knob.over == "share" and knob.high == 1.0 and number == 0
        if not _try(found, measurer, trial, 1.0 if is_setting else None):
            return found
        if found.tried[-1].verdict.learned:
            break
    else:
        found.outcome = "ceiling"
        return found
    while (setting := next_setting(knob, found.verdicts)) is not None:
        if len(found.tried) >= wish.runs or not _try(found, measurer, plan.at(setting), setting):
            break
    end = ending(found.verdicts)
    if end == "found" or setting is None:
        found.outcome = end
    return found


def _try(found: Squeezed, measurer: Measurer, trial: Trial, setting: float | None) -> bool:
    """Measure a trial and judge it; False if there was no time."""
    scores = measurer.measure(trial)
    if scores is None:
        return False
    found.before = before = measurer.before()
    wish = found.plan.wish
    verdict = Verdict(
        scores.target.share >= wish.goal - ROUNDING,
        scores.general.share >= before.general.share - wish.margin - ROUNDING,
    )
    found.tried.append(Tried(trial, setting, scores, verdict))
    return True
