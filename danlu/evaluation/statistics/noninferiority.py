"""May the new version replace the old: yes, no, or too few prompts to say."""

from __future__ import annotations

from enum import StrEnum


class NonInferiority(StrEnum):
    """The three answers.

    Attributes:
        PASS: The loss is smaller than the margin, surely.
        FAIL: The loss is greater than the margin, surely.
        INCONCLUSIVE: It may be either: more prompts are needed.
    """

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


def non_inferiority(low: float, high: float, margin: float) -> NonInferiority:
    """Hold the interval of new minus old against the loss that is allowed.

    A two-sided 95 % interval makes each answer a one-sided test at 2.5 %. Several task types that
    must all pass need no correction for PASS (all of them must be passed by chance at once:
    an intersection-union test, Berger 1982); for FAIL of any one, give intervals of a confidence
    of ``1 - 0.05 / types``.

    Args:
        low: Lower end of the difference's interval.
        high: Upper end.
        margin: The greatest loss that is allowed, 0 or more, in units of the score.

    Raises:
        ValueError: If the margin is negative, an end is missing, or they are in the wrong order.

    Example:
        >>> ends = ((-0.02, 0.01), (-0.2, -0.1), (-0.1, 0))
        >>> [non_inferiority(low, high, 0.03).value for low, high in ends]
        ['pass', 'fail', 'inconclusive']
    """
    if not margin >= 0:
        raise ValueError(f"margin is {margin}; it is the loss that is allowed, 0 or more")
    if not low <= high:
        raise ValueError(f"the interval from {low} to {high} is none")
    if low > -margin:
        return NonInferiority.PASS
    if high < -margin:
        return NonInferiority.FAIL
    return NonInferiority.INCONCLUSIVE
