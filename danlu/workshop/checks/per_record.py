"""Checks that look at one record at a time: counting what they find, and the verdict of counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from danlu.workshop.checks.check import (
    Check,
    Finding,
    Report,
    Rule,
    State,
    Verdict,
)
from danlu.workshop.checks.view import Head, View
from danlu.workshop.store.decision import Scalar
from danlu.workshop.veto import vetoing_tag


class Hit(NamedTuple):
    """What a rule found in the record at hand; see ``Finding``."""

    rule: str
    value: Scalar = None
    limit: Scalar = None
    detail: str = ""
    partner: str | None = None


Look = Callable[[View], Iterable[Hit] | None]
"""Looks at a record; None says that the check has no meaning for it."""


class Tally:
    """Counts records and findings per task type.

    Args:
        check: Whose they are.
    """

    def __init__(self, check: Check) -> None:
        self._check = check.name
        self._rules = {rule.name: rule for rule in check.rules}
        self._records: Counter[str] = Counter()
        self._found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._protected: Counter[str] = Counter()

    def count(self, task_type: str, applies: bool = True) -> None:
        """Count a record, to which the check applies or does not."""
        self._records[task_type] += applies

    def findings(self, head: Head, hits: Iterable[Hit]) -> list[Finding]:
        """Make findings of what was found in a record, and count them."""
        return [self.finding(head.id, head.task_type, head.tags, hit) for hit in hits]

    def finding(self, record_id: str, task_type: str, tags: Iterable[str], hit: Hit) -> Finding:
        """Make a finding of a hit, and count it."""
        rule = self._rules[hit.rule]
        protected = vetoing_tag(tags, f"{self._check}.{rule.name}") is not None
        if protected:
            self._protected[task_type] += 1
        else:
            self._found[task_type][rule.name] += 1
        return Finding(
            record_id, task_type, self._check, rule.name, rule.level, hit.value, hit.limit,
            hit.detail, hit.partner, protected,
        )  # fmt: skip

    def verdicts(self) -> list[Verdict]:
        """Say of each task type what the counts say."""
        return [self._verdict(task_type) for task_type in self._records]

    def _verdict(self, task_type: str) -> Verdict:
        records, found = self._records[task_type], self._found[task_type]
        if not records:
            return Verdict(task_type, self._check, "exempt")
        figures: dict[str, Scalar] = {"records": records, **found}
        if protected := self._protected[task_type]:
            figures["protected"] = protected
        state, advice = judge(self._rules, found, records)
        return Verdict(task_type, self._check, state, figures, advice)


def judge(rules: Mapping[str, Rule], found: Mapping[str, int], records: int) -> tuple[State, str]:
    """Make a state and advice of how many records have what.

    Example:
        >>> odd = Rule("odd", "attention", "is odd", "Look at it.", tolerated=0.1)
        >>> judge({"odd": odd}, {"odd": 10}, 100)
        ('ok', '')
        >>> judge({"odd": odd}, {"odd": 11}, 100)
        ('attention', '11 of 100 records: is odd. Look at it.')
    """
    state: State = "ok"
    told = []
    for name, count in sorted(found.items(), key=lambda pair: -pair[1]):
        rule = rules[name]
        if not count or (rule.level == "attention" and count <= rule.tolerated * records):
            continue
        state = "fault" if "fault" in (rule.level, state) else "attention"
        told.append(f"{count:,} of {records:,} records: {rule.finds}. {rule.remedy}")
    return state, " ".join(told)


class PerRecord:
    """A check at work that looks at one record at a time.

    Args:
        check: Which one.
        look: Looks at a record. Of several hits of one rule the first counts.
    """

    def __init__(self, check: Check, look: Look) -> None:
        self._look = look
        self._tally = Tally(check)

    def look(self, view: View) -> tuple[Hit, ...] | None:
        """Look at a record; None says that the check has no meaning for it."""
        hits = self._look(view)
        return hits if hits is None else first_hits(hits)

    def take(self, head: Head, seen: tuple[Hit, ...] | None) -> Iterable[Finding]:
        """Count what was found."""
        self._tally.count(head.task_type, seen is not None)
        return self._tally.findings(head, seen) if seen else ()

    def finish(self) -> Report:
        """Say what the counts say."""
        return Report((), self._tally.verdicts())


def first_hits(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """Return the first hit of each rule."""
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(hit.rule, hit)
    return tuple(first.values())


def shown(text: str, start: int = 0, end: int | None = None, around: int = 20) -> str:
    r"""Quote a place in a text, with some of what stands around it, on one line.

    Example:
        >>> shown("a question\nand an answer", 11, 14, around=4)
        '…ion and an …'
    """
    end = len(text) if end is None else end
    left, right = max(0, start - around), min(len(text), end + around)
    cut = " ".join(text[left:right].splitlines())
    return f"{'…' if left else ''}{cut}{'…' if right < len(text) else ''}"
