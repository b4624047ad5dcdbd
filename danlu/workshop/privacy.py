"""Personal data taken out of a conversation before anything of it is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from danlu.records import Message
from danlu.records.capture import Turn, Vote
from danlu.workshop.checks.personal import personal_spans
from danlu.workshop.likeness.text import has_han

MASKS = {
    "phone": ("[phone number]", "[电话号码]"),
    "email": ("[e-mail address]", "[邮箱地址]"),
    "id_number": ("[identity number]", "[身份证号]"),
    "bank_card": ("[card number]", "[银行卡号]"),
    "secret": ("[key]", "[密钥]"),
}
"""What stands in the place of what was found, in English and in Chinese text."""


class Masked(NamedTuple):
    """Something without personal data.

    Attributes:
        value: What is left.
        found: How much of which kind was taken out.
    """

    value: Any
    found: Counter[str]


def mask_text(text: str) -> Masked:
    """Mask a text.

    Example:
        >>> mask_text("我的电话是13987650912").value
        '我的电话是[电话号码]'
    """
    spans = personal_spans(text)
    language = has_han(text)
    for rule, start, end in reversed(spans):
        text = f"{text[:start]}{MASKS[rule][language]}{text[end:]}"
    return Masked(text, Counter(rule for rule, _, _ in spans))


def mask_value(value: Any) -> Masked:
    """Mask every text within JSON, keys left as they are.

    Example:
        >>> mask_value({"to": ["li@danlu.cn", 3]})
        Masked(value={'to': ['[e-mail address]', 3]}, found=Counter({'email': 1}))
    """
    if isinstance(value, str):
        return mask_text(value)
    found: Counter[str] = Counter()
    if isinstance(value, Mapping):
        inner = {key: mask_value(one) for key, one in value.items()}
        for one in inner.values():
            found += one.found
        return Masked({key: one.value for key, one in inner.items()}, found)
    if isinstance(value, list | tuple):
        each = [mask_value(one) for one in value]
        for one in each:
            found += one.found
        return Masked([one.value for one in each], found)
    return Masked(value, found)


def mask_turn(turn: Turn) -> Masked:
    """Mask all that is said in a turn and in its votes; ``meta`` is left out altogether."""
    found: Counter[str] = Counter()
    messages: list[Message] = []
    for message in turn.messages:
        content = mask_text(message.content or "")
        extra = mask_value(dict(message.extra))
        found += content.found + extra.found
        text = None if message.content is None else content.value
        messages.append(replace(message, content=text, extra=extra.value))
    votes = [mask_vote(vote) for vote in turn.votes]
    for one in votes:
        found += one.found
    tools = mask_value(list(turn.tools))
    kept = tuple(one.value for one in votes)
    changed = replace(turn, messages=tuple(messages), tools=tuple(tools.value), votes=kept, meta={})
    return Masked(changed, found + tools.found)


def mask_vote(vote: Vote) -> Masked:
    """Mask what a vote says."""
    text, corrected = mask_text(vote.text), mask_text(vote.corrected)
    changed = replace(vote, text=text.value, corrected=corrected.value)
    return Masked(changed, text.found + corrected.found)
