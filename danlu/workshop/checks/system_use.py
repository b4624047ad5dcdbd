"""System prompts: how many records have one, and in how many the answer follows from it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from danlu.workshop.checks.check import Finding, Report, Rule, Running, Verdict, setting
from danlu.workshop.checks.content import content_set
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.counting import text_key
from danlu.workshop.checks.per_type import percent, too_few, verdict_of
from danlu.workshop.checks.view import Head, View
from danlu.workshop.likeness.text import units
from danlu.workshop.store.decision import Scalar


@dataclass(frozen=True, slots=True)
class SystemUse:
    """Checks whether system prompts matter.

    One matters to a record if an answer takes up content of it that no message of the user holds.
    Orders about form (in French, in one sentence) leave no such trace and are not seen.
    """

    name: ClassVar[str] = "system"
    finds: ClassVar[str] = "system prompts that never vary, or that no answer follows from"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "without_effect",
            "attention",
            "hardly any answer takes up what its system prompt says, so the model learns to "
            "ignore it",
            "Add records whose answer changes with the system prompt: persona, form, refusal.",
            of="task_type",
            limit="least_effect",
            source="practitioners' reports, 2023-2024: a system prompt that matters or does not",
        ),
    )

    least_effect: float = setting(
        0.05, "Least share of the records with a system prompt where it must matter."
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self)


def system_matters(view: View) -> bool:
    """Say whether an answer takes up what only the system prompt holds."""
    own = _content(view.folded_system)
    if not own:
        return False
    taken: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    for turn in view.turns:
        taken |= turn.answered.content
        asked |= turn.asked.content
    return not (own & taken) <= asked


@lru_cache(maxsize=256)
def _content(text: str) -> frozenset[str]:
    return content_set(units(text))


class _Run:
    def __init__(self, check: SystemUse) -> None:
        self._check = check
        self._records: Counter[str] = Counter()
        self._with: Counter[str] = Counter()
        self._matters: Counter[str] = Counter()
        self._prompts: defaultdict[str, set[int]] = defaultdict(set)

    def look(self, view: View) -> tuple[int, bool] | None:
        if not (view.system and view.turns):
            return None
        return text_key(view.folded_system), system_matters(view)

    def take(self, head: Head, seen: tuple[int, bool] | None) -> Iterable[Finding]:
        task_type = head.task_type
        self._records[task_type] += 1
        if seen is not None:
            key, matters = seen
            self._with[task_type] += 1
            self._prompts[task_type].add(key)
            self._matters[task_type] += matters
        return ()

    def finish(self) -> Report:
        return Report((), [self._verdict(task_type) for task_type in self._records])

    def _verdict(self, task_type: str) -> Verdict:
        count = self._with[task_type]
        if few := too_few(self._check, task_type, count):
            return few
        share = self._matters[task_type] / count
        different = len(self._prompts[task_type])
        figures: dict[str, Scalar] = {
            "with_system": count,
            "with_system_share": count / self._records[task_type],
            "different_system_prompts": different,
            "matters_share": share,
        }
        said = (
            f"Of {count:,} answers with a system prompt ({different:,} different) "
            f"{percent(share)} take up what it says."
        )
        broken = [("without_effect", said)] if share < self._check.least_effect else []
        return verdict_of(self._check, task_type, figures, broken)
