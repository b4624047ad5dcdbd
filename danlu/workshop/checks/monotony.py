"""Answer monotony: the same answer, the same opening, or nearly the same text again and again.

A model learns the commonest answer first, and gives it where it knows no better. Tasks with closed
labels are exempt, declared or recognised; there only labels out of balance are found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from danlu.workshop.checks.check import Finding, Report, Rule, Running, Verdict, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.counting import SHOWN_CHARACTERS, Commonest, text_key
from danlu.workshop.checks.labels import Labels
from danlu.workshop.checks.per_type import percent, too_few, verdict_of
from danlu.workshop.checks.sample import Sample
from danlu.workshop.checks.similarity import clusters, similarities
from danlu.workshop.checks.view import Head, View
from danlu.workshop.likeness.text import units
from danlu.workshop.store.decision import Scalar

PRACTICE = "practitioners' reports, 2023-2024: above all varied answers"
KEPT_CHARACTERS = 1500
"""Of a sampled answer; so many characters are enough units to be compared by."""


@dataclass(frozen=True, slots=True)
class AnswerMonotony:
    """Checks how alike the answers of a task type are."""

    name: ClassVar[str] = "monotony"
    finds: ClassVar[str] = "answers, openings of answers, or labels that are much alike"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "commonest_answer",
            "fault",
            "one answer makes up much of an open task",
            "Drop repeats, or vary them; if these are labels, declare closed_labels.",
            of="task_type",
            limit="answer_share",
            source=PRACTICE,
        ),
        Rule(
            "commonest_opening",
            "attention",
            "many answers of an open task begin with the same words",
            "Rewrite openings; a model learns such a phrase within a few steps.",
            of="task_type",
            limit="opening_share",
            source=PRACTICE,
        ),
        Rule(
            "near_equal",
            "attention",
            "many answers of an open task are nearly equal to others",
            "Deduplicate on answers, and make more varied ones.",
            of="task_type",
            limit="cluster_share",
            source=PRACTICE,
        ),
        Rule(
            "label_balance",
            "attention",
            "one label makes up nearly all answers of a task with closed labels",
            "Add records of the other labels.",
            of="task_type",
            limit="label_share",
        ),
    )

    answer_share: float = setting(0.05, "Most that one answer may make up, of open answers.")
    opening_share: float = setting(0.3, "Most of the open answers that may begin alike.")
    opening_units: int = setting(4, "How many units an opening has.")
    cluster_share: float = setting(
        0.3, "Most of the sampled answers that may be in clusters of three or more."
    )
    cluster_similarity: float = setting(
        0.8, "Cosine of units and pairs of units from which on two answers hang together."
    )
    label_share: float = setting(0.9, "Most that one label may make up.")
    sample: int = setting(256, "Answers per task type that are held against one another.")

    def start(self, context: Context) -> Running:
        """Begin."""
        return _Run(self, context.labels)


class _Answers:
    def __init__(self, sample: int) -> None:
        self.whole = Commonest()
        self.openings = Commonest()
        self.sample: Sample[str] = Sample(sample)


class _Run:
    def __init__(self, check: AnswerMonotony, labels: Labels) -> None:
        self._check = check
        self._labels = labels
        self._answers: defaultdict[str, _Answers] = defaultdict(lambda: _Answers(check.sample))

    def look(self, view: View) -> list[tuple[int, str, str | None]]:
        """Return of each answer its key, as much as is kept, and its opening if it has one."""
        length = self._check.opening_units
        seen = []
        for turn in view.turns:
            found, opening = turn.answer_units, None
            # What is hardly longer than an opening has none.
            if len(found) >= 2 * length:
                opening = " ".join(found[:length])
            kept = turn.folded_answer[: SHOWN_CHARACTERS if opening is None else KEPT_CHARACTERS]
            seen.append((turn.answered.key, kept, opening))
        return seen

    def take(self, head: Head, seen: list[tuple[int, str, str | None]]) -> Iterable[Finding]:
        answers = self._answers[head.task_type]
        for key, kept, opening in seen:
            answers.whole.add(key, kept)
            if opening is not None:
                answers.openings.add(text_key(opening), opening)
                if answers.sample.wants(head.draw):
                    answers.sample.add(head.draw, kept)
        return ()

    def finish(self) -> Report:
        return Report((), [self._verdict(*pair) for pair in self._answers.items()])

    def _verdict(self, task_type: str, answers: _Answers) -> Verdict:
        check = self._check
        if few := too_few(check, task_type, answers.whole.total):
            return few
        if labels := self._labels.closed(task_type):
            return self._closed(task_type, answers, len(labels))
        figures: dict[str, Scalar] = {
            "answers": answers.whole.total,
            "different_answers": len(answers.whole),
            "commonest_answer_share": answers.whole.most().share,
            "commonest_opening_share": answers.openings.most().share,
            "in_clusters_share": _clustered(answers, check.cluster_similarity),
        }
        return verdict_of(check, task_type, figures, self._broken(answers, figures))

    def _broken(self, answers: _Answers, figures: dict[str, Scalar]) -> Iterator[tuple[str, str]]:
        check = self._check
        most, opening = answers.whole.most(), answers.openings.most()
        if most.times > 1 and most.share > check.answer_share:
            yield (
                "commonest_answer",
                f"{percent(most.share)} of the answers are {most.example!r}.",
            )
        if answers.openings.total >= 10 and opening.share > check.opening_share:
            yield (
                "commonest_opening",
                f"{percent(opening.share)} of the answers begin with {opening.example!r}.",
            )
        clustered = float(figures["in_clusters_share"] or 0)
        if clustered > check.cluster_share:
            yield (
                "near_equal",
                f"{percent(clustered)} of {len(answers.sample)} sampled answers are nearly equal "
                "to two others or more.",
            )

    def _closed(self, task_type: str, answers: _Answers, labels: int) -> Verdict:
        most = answers.whole.most()
        figures: dict[str, Scalar] = {
            "answers": answers.whole.total,
            "labels": labels,
            "commonest_label_share": most.share,
        }
        if most.share <= self._check.label_share:
            rounded = {**figures, "commonest_label_share": round(most.share, 4)}
            return Verdict(task_type, self._check.name, "exempt", rounded)
        said = f"{percent(most.share)} of the answers are the label {most.example!r}."
        return verdict_of(self._check, task_type, figures, [("label_balance", said)])


def _clustered(answers: _Answers, at_least: float) -> float:
    """Return the share of sampled answers in clusters of three or more."""
    texts = [units(text) for text in answers.sample.items()]
    if not texts:
        return 0.0
    groups = clusters(similarities(texts), at_least)
    return sum(len(group) for group in groups if len(group) > 2) / len(texts)
