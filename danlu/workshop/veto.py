"""Tags that protect a record from a rule.

A record with the tag ``robustness`` is wrong on purpose: typing errors, mixed languages, a prompt
that is nearly another one. Cleaning would remove just what it is there to teach.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from danlu.records import Record
from danlu.workshop.store.decision import Decision

VETOES: Mapping[str, frozenset[str]] = {
    "robustness": frozenset(
        {"near duplicate", "novelty", "typo", "language", "mojibake", "punctuation"}
    )
}
"""By tag, the rules that it vetoes; the name of a check stands for all its rules (``language`` for
``language.stray_script``). Faults of structure and exact duplicates are never vetoed.
"""


def vetoing_tag(tags: Iterable[str], rule: str) -> str | None:
    """Return the first of a record's tags that vetoes a rule, if one does.

    Example:
        >>> vetoing_tag(["hard", "robustness"], "language.stray_script")
        'robustness'
        >>> vetoing_tag(["robustness"], "exact duplicate")
    """
    for tag in tags:
        vetoed = VETOES.get(tag, frozenset())
        if rule in vetoed or rule.partition(".")[0] in vetoed:
            return tag
    return None


def protects(record: Record) -> bool:
    """Whether a tag of the record vetoes anything.

    Example:
        >>> from danlu.records import Message
        >>> protects(Record("1", "a/b", (Message("text", "Hi"),), tags=("robustness",)))
        True
    """
    return not VETOES.keys().isdisjoint(record.tags)


def after_veto(decision: Decision, original: Record) -> Decision:
    """Return the decision, or that the record stays as it was where one of its tags says so.

    The ledger then has the rule with value, limit and partner, and which tag kept the record.

    Args:
        decision: What an operation says of the record.
        original: The record before the operation.

    Example:
        >>> from danlu.records import Message
        >>> from danlu.workshop.store.decision import drop
        >>> record = Record("1", "a/b", (Message("user", "helo"),), tags=("robustness",))
        >>> entry = after_veto(drop(record, "near duplicate", 0.9, 0.8), record).entry
        >>> entry.fate, entry.rule, entry.detail
        ('kept', 'near duplicate', 'kept by tag robustness')
        >>> after_veto(drop(record, "exact duplicate"), record).entry.fate
        'dropped'
    """
    entry = decision.entry
    if entry.fate not in ("dropped", "edited"):
        return decision
    tag = vetoing_tag(original.tags, entry.rule)
    if tag is None:
        return decision
    reason = f"kept by tag {tag}"
    detail = f"{entry.detail}; {reason}" if entry.detail else reason
    kept = replace(entry, fate="kept", task_type=original.task_type, detail=detail)
    return Decision(original, kept)
