"""Where the key information of prompts stands: at the beginning, in the middle or at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from danlu.workshop.checks.check import Finding, Report, Rule, Running, Verdict, setting
from danlu.workshop.checks.content import content_places, content_set
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_type import percent, too_few, verdict_of
from danlu.workshop.checks.view import Head, View
from danlu.workshop.store.decision import Scalar

THIRDS = ("beginning", "middle", "end")
LONGEST_UNITS = 4000
"""Of a prompt and of an answer, so much is looked at; the rest would cost and tell little."""


@dataclass(frozen=True, slots=True)
class KeyPosition:
    """Checks where in long prompts the content stands that the answers take up."""

    name: ClassVar[str] = "position"
    finds: ClassVar[str] = "key information that always stands in the same third of the prompt"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "one_place",
            "attention",
            "in nearly all long prompts the key information stands in the same third",
            "Move the material around: the question first, last, and within; the key fact too.",
            of="task_type",
            limit="one_third_share",
            source="practitioners' reports, 2023-2024: the key fact at the start, middle or end",
        ),
    )

    one_third_share: float = setting(0.8, "Most of the prompts that may have it in one third.")
    least_units: int = setting(60, "Shortest prompt that is looked at.")
    least_shared: int = setting(
        3, "So many different pieces of content must be shared with the answer, to tell."
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self)


def key_third(prompt: Sequence[str], answer: Sequence[str], least_shared: int) -> int | None:
    """Return in which third of a prompt most of what it shares with the answer stands.

    Args:
        prompt: Units of the folded prompt.
        answer: Units of the folded answer.
        least_shared: So many different pieces must be shared.

    Returns:
        0, 1 or 2; None if too little is shared, or no third has more than the others.
    """
    return _third(prompt, content_set(answer[:LONGEST_UNITS]), least_shared)


def _third(prompt: Sequence[str], wanted: frozenset[str], least_shared: int) -> int | None:
    # What stands in one third only points there; what is everywhere (the topic) points nowhere.
    thirds: defaultdict[str, set[int]] = defaultdict(set)
    for unit, place in content_places(prompt, wanted):
        thirds[unit].add(3 * place // len(prompt))
    if len(thirds) < least_shared:
        return None
    [(first, most), *rest] = Counter(
        next(iter(places)) for places in thirds.values() if len(places) == 1
    ).most_common() or [(0, 0)]
    return first if most and (not rest or rest[0][1] < most) else None


class _Run:
    def __init__(self, check: KeyPosition) -> None:
        self._check = check
        self._long: Counter[str] = Counter()
        self._thirds: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def look(self, view: View) -> tuple[bool, int | None]:
        for turn in view.turns[:1]:
            prompt, answer = turn.prompt_units, turn.answer_units
            if self._check.least_units <= len(prompt) <= LONGEST_UNITS:
                is_whole = len(answer) <= LONGEST_UNITS
                wanted = turn.answered.content if is_whole else content_set(answer[:LONGEST_UNITS])
                return True, _third(prompt, wanted, self._check.least_shared)
        return False, None

    def take(self, head: Head, seen: tuple[bool, int | None]) -> Iterable[Finding]:
        is_long, third = seen
        self._long[head.task_type] += is_long
        if third is not None:
            self._thirds[head.task_type][third] += 1
        return ()

    def finish(self) -> Report:
        return Report((), [self._verdict(task_type) for task_type in self._long])

    def _verdict(self, task_type: str) -> Verdict:
        thirds = self._thirds[task_type]
        told = thirds.total()
        if few := too_few(self._check, task_type, told):
            return few
        shares = {name: thirds[number] / told for number, name in enumerate(THIRDS)}
        figures: dict[str, Scalar] = {"prompts": told, **shares}
        place, share = max(shares.items(), key=lambda pair: pair[1])
        said = (
            f"In {percent(share)} of {told:,} long prompts the key information is at the {place}."
        )
        broken = [("one_place", said)] if share > self._check.one_third_share else []
        return verdict_of(self._check, task_type, figures, broken)
