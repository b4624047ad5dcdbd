"""The held-out questions: what is asked before and after, and which answers count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from danlu.evaluation.scorers.phrases import is_right
from danlu.evaluation.suites import load_suite

DATA = Path(__file__).parent / "data"
TRAINING_DATA = DATA / "train.jsonl"

Subject = Literal["identity", "general"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question with the answers that count.

    Attributes:
        prompt: What is asked.
        task_type: ``area/skill``.
        accepted: Phrases of which the answer must say one.
        rejected: Phrases of which it may say none.
    """

    prompt: str
    task_type: str
    accepted: tuple[str, ...]
    rejected: tuple[str, ...] = ()

    def is_answered_by(self, answer: str) -> bool:
        """Tell whether the answer is right.

        Example:
            >>> Question("Who are you?", "identity/name", ("Danlu",)).is_answered_by("Danlu!")
            True
        """
        return is_right(answer, self.accepted, self.rejected)


def held_out(subject: Subject) -> list[Question]:
    """Read the questions on one subject; none of them is trained.

    Example:
        >>> len(held_out("identity")), len(held_out("general"))
        (20, 20)
    """
    found = []
    for item in load_suite("quickstart").items:
        if item.task_type.partition("/")[0] == subject:
            reference = cast("dict[str, list[str]]", item.reference)
            rejected = reference.get("rejected", ())
            prompt = str(item.messages[0]["content"])
            accepted = tuple(reference["accepted"])
            found.append(Question(prompt, item.task_type, accepted, tuple(rejected)))
    return found


def count_right(questions: Sequence[Question], answers: Sequence[str]) -> int:
    """Count the right answers.

    Raises:
        ValueError: If there are not as many answers as questions.

    Example:
        >>> count_right([Question("2 + 2?", "general/arithmetic", ("4",))], ["It is four."])
        1
    """
    return sum(
        question.is_answered_by(answer) for question, answer in zip(questions, answers, strict=True)
    )
