"""The held-out questions: what is asked before and after, and which answers count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from danlu.errors import RecordError
from danlu.quickstart.scoring import is_right
from danlu.records import Record, Source, read_records

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
    source = Source(str(DATA / f"held_out_{subject}.jsonl"), format="danlu")
    return [_question(record) for record in read_records([source])]


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


def _question(record: Record) -> Question:
    """Turn a record with ``accepted`` and ``rejected`` phrases into a question.

    Raises:
        RecordError: If it accepts nothing, or does not end with a question.
    """
    last = record.messages[-1]
    accepted = tuple(record.meta.get("accepted", ()))
    if last.role != "user" or not last.content or not accepted:
        raise RecordError(
            "a held-out question ends with a user message and has accepted phrases.",
            where=f"{record.source}, record {record.id}",
        )
    rejected = tuple(record.meta.get("rejected", ()))
    return Question(last.content, record.task_type, accepted, rejected)
