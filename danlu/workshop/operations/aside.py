"""Records that stand aside where likeness is judged: kept, and nothing goes for their sake.

A variant for robustness is nearly its original on purpose. Neither may it be dropped for that, nor
may the clean original be dropped because the variant came first. So an operation leaves it out of
what others are held against; that it is kept, ``veto`` says.
"""

from __future__ import annotations

from danlu.records import Record
from danlu.workshop.veto import vetoing_tag


def stands_aside(record: Record, rule: str) -> bool:
    """Whether a tag of the record vetoes the rule.

    Example:
        >>> from danlu.records import Message
        >>> record = Record("1", "a/b", (Message("text", "Hi"),), tags=("robustness",))
        >>> stands_aside(record, "near duplicate"), stands_aside(record, "exact duplicate")
        (True, False)
    """
    return vetoing_tag(record.tags, rule) is not None
