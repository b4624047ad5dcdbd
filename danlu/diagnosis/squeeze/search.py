"""Which setting to try next, from the verdicts so far: bisection with two edges.

With more of the setting the task is learned better and more is forgotten. So the settings at which
the task is learned lie above an edge, and those at which the general score is kept below another.
Between the two, if the first is the lower one, lies what is looked for. Until a setting there is
known the gap that must hold it is halved; afterwards the gaps around the two edges are, the wider
one first. A function of what was tried and of nothing else: a search that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from danlu.diagnosis.squeeze.knob import Knob

Ending = Literal["found", "apart", "never-learned"]


class Verdict(NamedTuple):
    """What a setting came to.

    Attributes:
        learned: Whether the task is learned.
        kept: Whether the general score is within its margin.
    """

    learned: bool
    kept: bool

    @property
    def fits(self) -> bool:
        """Whether it is both."""
        return self.learned and self.kept


def next_setting(knob: Knob, tried: Mapping[float, Verdict]) -> float | None:
    """Return the setting to try next; None if nothing more can be told apart.

    Example:
        >>> knob = Knob("share", 0.0, 1.0, 0.5, 0.05)
        >>> tried = {1.0: Verdict(learned=True, kept=False)}
        >>> next_setting(knob, tried)
        0.5
        >>> next_setting(knob, tried | {0.5: Verdict(learned=False, kept=True)})
        0.75
    """
    most = tried.get(knob.high)
    if most is not None and not most.learned and not any(one.fits for one in tried.values()):
        return None  # with less of it the task is learned no better
    if knob.low < knob.own < knob.high and knob.own not in tried:
        return knob.own
    gaps = sorted(_gaps(knob, tried), key=lambda gap: -knob.gap(*gap))
    middles = (knob.middle(*gap) for gap in gaps)
    return next((one for one in middles if one is not None and one not in tried), None)


def ending(tried: Mapping[float, Verdict]) -> Ending:
    """Say what the verdicts come to.

    Returns:
        ``found``: some setting is both; ``apart``: where the task is learned, too much is
        forgotten; ``never-learned``: it is not learned at any setting.
    """
    if any(one.fits for one in tried.values()):
        return "found"
    return "apart" if any(one.learned for one in tried.values()) else "never-learned"


def _gaps(knob: Knob, tried: Mapping[float, Verdict]) -> list[tuple[float, float]]:
    """Return between which settings there is something to find out."""
    fits = [setting for setting, one in tried.items() if one.fits]
    if not fits:
        learned = [setting for setting, one in tried.items() if one.learned]
        high = min(learned, default=knob.high)
        return [(max((one for one in tried if one < high), default=knob.low), high)]
    first, last = min(fits), max(fits)
    below = max((one for one in tried if one < first), default=knob.low)
    above = min((one for one in tried if one > last), default=knob.high)
    return [(below, first), (last, above)]
