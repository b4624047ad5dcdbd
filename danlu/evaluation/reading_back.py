"""Items of an evaluation with what was answered and what it scored, for a person to read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.schema import AnswerRow, Item, ScoredAnswer


@dataclass(frozen=True)
class Shown:
    """One item with all that came of it.

    Attributes:
        item: What was asked.
        answers: Each sample's.
        scores: Of every scorer.
        score: Mean of the scores that count; None if one is missing.
    """

    item: Item
    answers: tuple[AnswerRow, ...]
    scores: tuple[ScoredAnswer, ...]
    score: float | None

    def as_object(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "item": self.item.model_dump(mode="json"),
            "score": self.score,
            "answers": [one.model_dump(mode="json") for one in self.answers],
            "scores": [one.model_dump(mode="json") for one in self.scores],
        }

    def lines(self) -> Iterator[str]:
        """Say it for the terminal; the reference is always shown."""
        score = "no score" if self.score is None else f"{self.score:.3f}"
        yield f"{self.item.id}  {self.item.task_type}  {score}"
        asked = next((one.asked for one in self.answers if one.asked), None) or self.item.messages
        for message in asked:
            yield f"  {message['role']}: {message.get('content') or json.dumps(message)}"
        for answer in self.answers:
            number = f" {answer.sample}" if len(self.answers) > 1 else ""
            told = answer.text if answer.text is not None else f"(none: {_failed(answer)})"
            yield f"  answer{number}: {told}{'' if answer.finished else ' … (cut off)'}"
        if self.item.reference is not None:
            given = self.item.reference
            told = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
            yield f"  reference: {told}"
        for row in self.scores:
            yield f"  {row.scorer}: {_told(row)}"


def _failed(answer: AnswerRow) -> str:
    return (
        "no reason"
        if answer.failure is None
        else f"{answer.failure.kind}: {answer.failure.message}"
    )


def _told(row: ScoredAnswer) -> str:
    if row.value is None:
        return "missing" + (f" ({row.failure.kind}: {row.failure.message})" if row.failure else "")
    read = f", read {row.read!r}" if row.read is not None else ""
    return f"{row.value:.3f}{read}{f' ({row.why})' if row.why else ''}"


def shown_items(
    directory: EvalDirectory,
    task_type: str | None = None,
    ids: Collection[str] = (),
    *,
    wrong: int | None = None,
    missing: int | None = None,
) -> list[Shown]:
    """Choose items, those with the lowest scores first.

    Args:
        directory: Whose.
        task_type: Only of these; a pattern.
        ids: These items; all if there are none.
        wrong: So many with less than the highest score.
        missing: So many without a score.

    Raises:
        EvaluationError: If an id is none.
    """
    types = directory.evaluation().task_types
    answers: dict[str, list[AnswerRow]] = defaultdict(list)
    for answer in directory.answers():
        answers[answer.item].append(answer)
    scores: dict[str, list[ScoredAnswer]] = defaultdict(list)
    for row in directory.scores():
        scores[row.item].append(row)
    items = {item.id: item for item in directory.items()}
    for id_ in ids:
        if id_ not in items:
            raise EvaluationError(
                f"there is no such item.{did_you_mean(id_, items)}", where=str(directory.path)
            )
    found = []
    for item in items.values():
        if (task_type and not fnmatchcase(item.task_type, task_type)) or (
            ids and item.id not in ids
        ):
            continue
        own = scores[item.id]
        values = [row.value for row in own if row.scorer == types[item.task_type].scorer]
        there = [value for value in values if value is not None]
        score = sum(there) / len(there) if there and len(there) == len(values) else None
        found.append(Shown(item, tuple(answers[item.id]), tuple(own), score))
    return _chosen(found, {name: of.high for name, of in types.items()}, wrong, missing)


def _chosen(
    found: list[Shown], highest: dict[str, float], wrong: int | None, missing: int | None
) -> list[Shown]:
    if wrong is None and missing is None:
        return found
    without = [one for one in found if one.score is None][: missing or 0]
    low = [
        one for one in found if one.score is not None and one.score < highest[one.item.task_type]
    ]
    low.sort(key=lambda one: one.score if one.score is not None else 0.0)
    return [*without, *low[: wrong or 0]]
