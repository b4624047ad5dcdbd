"""Which task types have closed labels: told by a taxonomy, or seen by their answers.

In a task of closed labels (sentiment, yes or no, a section of the news) equal answers are right,
so what is said against monotony, equal lengths and short answers does not hold there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from danlu.workshop.checks.check import MIN_RECORDS
from danlu.workshop.checks.view import Turn, View
from danlu.workshop.likeness.text import fold

LABEL_CHARACTERS = 40
"""Longest answer that may be a label, folded."""

MOST_LABELS = 50
"""More different labels than this, and answers are open."""

REPEATS = 5
"""So often is each label seen on average; else short answers are just short."""

COVER = 0.95
"""Share of the answers that the labels make up; the rest may be faults."""

_STOPS = " .。!"


class Labels:
    """Watches the answers of each task type.

    Args:
        declared: Labels by task type, from a taxonomy; these types are closed in any case.

    Example:
        >>> sorted(Labels({"mood/review": ["Positive", "Negative"]}).closed("mood/review"))
        ['negative', 'positive']
    """

    def __init__(self, declared: Mapping[str, Sequence[str]] | None = None) -> None:
        self.declared = {
            task_type: frozenset(map(fold_label, labels))
            for task_type, labels in (declared or {}).items()
            if labels
        }
        self._answers: Counter[str] = Counter()
        self._short: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._found: dict[str, frozenset[str]] = {}

    def look(self, view: View) -> list[str | None]:
        """Return the answers of a record that may be labels, folded; None for one that is not."""
        if view.task_type in self.declared:
            return []
        return [_short(turn) for turn in view.turns]

    def take(self, task_type: str, answers: Sequence[str | None]) -> None:
        """Count the answers of the next record."""
        if not answers:
            return
        self._answers[task_type] += len(answers)
        for answer in answers:
            if answer is not None:
                short = self._short[task_type]
                if answer in short or len(short) < 20 * MOST_LABELS:
                    short[answer] += 1

    def closed(self, task_type: str) -> frozenset[str]:
        """Return the folded labels of a task type, once all records are seen; empty if open."""
        if task_type in self.declared:
            return self.declared[task_type]
        if task_type not in self._found:
            self._found[task_type] = self._look(task_type)
        return self._found[task_type]

    def _look(self, task_type: str) -> frozenset[str]:
        total = self._answers[task_type]
        if total < MIN_RECORDS:
            return frozenset()
        floor = max(2, total // 500)
        counts = {label: count for label, count in self._short[task_type].items() if count >= floor}
        many = sum(counts.values())
        fits = 2 <= len(counts) <= MOST_LABELS and many >= REPEATS * len(counts)
        return frozenset(counts) if fits and many >= COVER * total else frozenset()


def _short(turn: Turn) -> str | None:
    if len(turn.answer) > 2 * LABEL_CHARACTERS:
        return None
    answer = turn.folded_answer.rstrip(_STOPS)
    return answer if len(answer) <= LABEL_CHARACTERS else None


def fold_label(text: str) -> str:
    """Fold a label or an answer that may be one; a stop at its end does not count.

    Example:
        >>> fold_label(" Positive. "), fold_label("正面。")
        ('positive', '正面')
    """
    return fold(text).rstrip(_STOPS)
