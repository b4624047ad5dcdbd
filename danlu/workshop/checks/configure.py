"""Checks and rules by name: choosing some, and changing their settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from danlu.errors import DanluError, did_you_mean
from danlu.workshop.checks.check import Check, Rule, check_settings


def configure(checks: Sequence[Check], settings: Mapping[str, str]) -> list[Check]:
    """Return checks with settings changed.

    Args:
        checks: As they are.
        settings: New values as text, by ``check.setting``.

    Raises:
        DanluError: If there is no such check or setting, or a value is of the wrong kind.

    Example:
        >>> from danlu.workshop.checks import CHECKS
        >>> changed = configure(CHECKS, {"monotony.answer_share": "0.2"})
        >>> next(check.answer_share for check in changed if check.name == "monotony")
        0.2
    """
    by_name = {check.name: check for check in checks}
    for path, text in settings.items():
        name, _, setting = path.partition(".")
        if name not in by_name:
            raise DanluError(
                f"there is no check {name!r}.{did_you_mean(name, by_name)}", where=path
            )
        check = by_name[name]
        known = {one.name: one.default for one in check_settings(check)}
        if not known:
            raise DanluError(f"the check {name} has no settings.", where=path)
        if setting not in known:
            raise DanluError(
                f"{name} has no setting {setting!r}.{did_you_mean(setting, known)}", where=path
            )
        changed: Any = check  # mypy takes a Protocol for no dataclass
        by_name[name] = replace(changed, **{setting: _read(text, known[setting], path)})
    return [by_name[check.name] for check in checks]


def _read(text: str, default: Any, where: str) -> Any:
    """Read a value of the kind that the default is of."""
    if isinstance(default, str):
        return text
    kind = type(default)
    try:
        value = kind(text)
    except ValueError:
        word = "a whole number" if kind is int else "a number"
        raise DanluError(f"is {text!r}; it must be {word}.", where=where) from None
    if not value >= 0:
        raise DanluError(f"is {text}; it must be 0 or more.", where=where)
    return value


def choose(checks: Sequence[Check], only: Iterable[str], skip: Iterable[str]) -> list[Check]:
    """Return some checks: those named, or all but those named.

    Raises:
        DanluError: If there is no check of a name.
    """
    only, skip = set(only), set(skip)
    names = [check.name for check in checks]
    for name in only | skip:
        if name not in names:
            raise DanluError(f"there is no check {name!r}.{did_you_mean(name, names)}")
    return [
        check for check in checks if check.name not in skip and (not only or check.name in only)
    ]


def find_rules(checks: Sequence[Check], names: Iterable[str]) -> dict[str, Rule]:
    """Return the rules that are meant, by full name, for dropping or tagging records.

    Args:
        checks: Which ones there are.
        names: Each ``check.rule``, or ``check`` for all of its rules that are of records.

    Raises:
        DanluError: If there is no such rule, or it speaks of a task type and not of records.

    Example:
        >>> from danlu.workshop.checks import CHECKS
        >>> list(find_rules(CHECKS, ["structure.empty_turn", "truncation"]))
        ['structure.empty_turn', 'truncation.overlong', 'truncation.prompt_cut', \
'truncation.answer_cut']
    """
    known = {f"{check.name}.{rule.name}": rule for check in checks for rule in check.rules}
    of_records = {name: rule for name, rule in known.items() if rule.of == "record"}
    found: dict[str, Rule] = {}
    for name in names:
        meant = [full for full in of_records if name in (full, full.partition(".")[0])]
        if not meant and name in {full.partition(".")[0] for full in known} | known.keys():
            raise DanluError(
                f"{name} speaks of a task type as a whole: by it no record can be dropped or "
                "tagged. Its advice says what to do."
            )
        if not meant:
            raise DanluError(f"there is no rule {name!r}.{did_you_mean(name, of_records)[:400]}")
        found.update((full, of_records[full]) for full in meant)
    return found
