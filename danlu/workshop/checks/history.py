"""Conversations of several turns: which turns need what was said before, and which change topic.

Both are needed: a model that has seen no turn that depends on history forgets it, and one that has
seen no change of topic clings to the old one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from danlu.workshop.checks.check import Finding, Report, Rule, Running, Verdict, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_type import percent, too_few, verdict_of
from danlu.workshop.checks.view import Head, Text, View

PRACTICE = "practitioners' reports, 2023-2024: topic switches in a conversation"

# What says so wherever it stands.
_POINTS_BACK = re.compile(
    r"\b(?:the (?:above|previous|former|latter|second|third|last one|first one)|above|earlier|"
    r"again|continue|go on|what else|anything else|are you sure|"
    r"you (?:said|mentioned|told|wrote|gave|suggested|just)|"
    r"your (?:answer|response|reply|previous|last)|"
    r"(?:what|how) about|more details?|rewrite|rephrase|shorten|shorter|elaborate)\b|"
    r"上[面文述]|前面|刚[才刚]|之前(?:说|提|的)|继续|接着|换[个一成]|真的吗|确定吗|呢[？?]?$|"
    r"你[刚才]*(?:说|提到|给出|写)的|你的(?:回答|答案|建议)|详细|展开|改[写成一为]|重新|再[来写给说举]|其中|总结一下"
)
# A pronoun near the beginning has nothing before it in its own turn to stand for.
_PRONOUN = re.compile(
    r"\b(?:it|its|this|that|these|those|them|they|their|he|she|him|his|her|another|why|instead)\b|"
    r"[它他她]|^这|这[个些样是]|^那|那[个些样么是里]|^(?:为什么|为何|还有|另外|好|是|对|不|谢)|"
    r"^(?:thanks?|thank you|yes|no|ok|okay|sure|and|but|so|also)\b"
)
HEAD_CHARACTERS = 30
ELLIPSIS_UNITS = 4
"""A turn of up to so many units says little by itself: it leans on what was said."""

SHARED = 0.4
"""Share of a turn's content that stood before, from which on it is about the same."""


@dataclass(frozen=True, slots=True)
class HistoryUse:
    """Checks the later turns of conversations: do they depend on history, or change the topic?"""

    name: ClassVar[str] = "history"
    finds: ClassVar[str] = (
        "conversations whose turns never need the history, or never leave a topic"
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "history_unused",
            "attention",
            "hardly any later turn depends on what was said before",
            "Add follow-ups with pronouns and ellipsis; turns joined at random teach none.",
            of="task_type",
            limit="least_dependent",
            source=PRACTICE,
        ),
        Rule(
            "no_topic_switch",
            "attention",
            "hardly any later turn changes the topic",
            "Add conversations that change the topic, so that the old one does not stick.",
            of="task_type",
            limit="least_switches",
            source=PRACTICE,
        ),
    )

    least_dependent: float = setting(0.2, "Least share of later turns that depend on history.")
    least_switches: float = setting(0.01, "Least share of later turns that change the topic.")
    least_turns: int = setting(50, "So many later turns are needed to tell.")

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self)


def depends_on_history(turn: str, before: frozenset[str]) -> bool:
    """Say whether a later turn of the user leans on what was said before.

    Args:
        turn: Its text, folded.
        before: Content of what was said before (``content_set``).

    Example:
        >>> depends_on_history("and how old is she?", frozenset())
        True
        >>> depends_on_history("list three rivers in africa", frozenset({"poem", "spring"}))
        False
        >>> depends_on_history("那个城市有多少人口？", frozenset())
        True
    """
    return points_back(turn) or takes_up(Text(turn), before)


def points_back(turn: str) -> bool:
    """Say whether a word of a folded turn stands for something said before."""
    return bool(_POINTS_BACK.search(turn) or _PRONOUN.search(turn[:HEAD_CHARACTERS]))


def takes_up(turn: Text, before: frozenset[str]) -> bool:
    """Say whether a turn says little by itself, or is about what was said before."""
    content = turn.content
    return len(turn.units) <= ELLIPSIS_UNITS or len(content & before) >= SHARED * max(
        len(content), 1
    )


class _Run:
    def __init__(self, check: HistoryUse) -> None:
        self._check = check
        self._turns: Counter[str] = Counter()
        self._dependent: Counter[str] = Counter()

    def look(self, view: View) -> tuple[int, int]:
        messages = view.record.messages
        if sum(message.role == "user" for message in messages) < 2:
            return 0, 0
        later = dependent = users = 0
        said: list[Text] = []
        for index, message in enumerate(messages):
            if message.role not in ("user", "assistant") or not message.content:
                continue
            text = view.text(index)
            if message.role == "user":
                users += 1
                if users > 1:
                    later += 1
                    # What was said is looked at only where the turn's own words do not tell.
                    dependent += points_back(text.folded) or takes_up(
                        text, frozenset().union(*(one.content for one in said))
                    )
            said.append(text)
        return later, dependent

    def take(self, head: Head, seen: tuple[int, int]) -> Iterable[Finding]:
        later, dependent = seen
        self._turns[head.task_type] += later
        self._dependent[head.task_type] += dependent
        return ()

    def finish(self) -> Report:
        return Report((), [self._verdict(task_type) for task_type in self._turns])

    def _verdict(self, task_type: str) -> Verdict:
        check, turns = self._check, self._turns[task_type]
        if few := too_few(check, task_type, turns, check.least_turns):
            return few
        dependent = self._dependent[task_type] / turns
        broken = []
        if dependent < check.least_dependent:
            said = f"{percent(dependent)} of {turns:,} later turns depend on history."
            broken.append(("history_unused", said))
        if 1 - dependent < check.least_switches:
            said = f"{percent(1 - dependent)} of {turns:,} later turns change the topic."
            broken.append(("no_topic_switch", said))
        figures = {"later_turns": turns, "dependent": dependent, "switches": 1 - dependent}
        return verdict_of(check, task_type, figures, broken)
