"""Checks that speak of a task type as a whole: what is measured, and the verdict of limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from danlu.workshop.checks.check import MIN_RECORDS, Check, State, Verdict
from danlu.workshop.store.decision import Scalar


def too_few(check: Check, task_type: str, records: int, least: int = MIN_RECORDS) -> Verdict | None:
    """Return the verdict where there are too few records to speak of, or none; None if enough."""
    if records >= least:
        return None
    if not records:
        return Verdict(task_type, check.name, "exempt")
    return Verdict(task_type, check.name, "too_few", {"records": records})


def verdict_of(
    check: Check,
    task_type: str,
    figures: Mapping[str, Scalar],
    broken: Iterable[tuple[str, str]],
) -> Verdict:
    """Make a verdict of the rules that are broken.

    Args:
        check: Whose verdict.
        task_type: Of which.
        figures: What was measured; shares are rounded here.
        broken: Names of rules, each with what was measured in words.
    """
    rules = {rule.name: rule for rule in check.rules}
    state: State = "ok"
    told = []
    for name, said in broken:
        rule = rules[name]
        state = "fault" if "fault" in (rule.level, state) else "attention"
        told.append(f"{said} {rule.remedy}")
    rounded = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in figures.items()
    }
    return Verdict(task_type, check.name, state, rounded, " ".join(told))


def percent(share: float) -> str:
    """Write a share as a person would.

    Example:
        >>> percent(0.5), percent(0.004), percent(0.0)
        ('50 %', '0.4 %', '0 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.1 or not share else f"{100 * share:.1f} %"
