"""The interface: questions go in, each answer comes out as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from danlu.evaluation.schema import Failure, ModelAsked
from danlu.generation.interface import Sampling
from danlu.records.record import Message

LASTING = ("refused", "too_long", "not_read")
"""Failures that asking again does not mend."""


@dataclass(frozen=True, slots=True)
class Question:
    """One answer that is wanted.

    Attributes:
        messages: The conversation up to it.
        sampling: How it is drawn; with its own seed and longest length.
    """

    messages: tuple[Message, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a question.

    Attributes:
        text: The answer; None if there is none.
        finished: Whether it ended by itself, not at a limit.
        tokens: Its length; None if unknown.
        failure: Why there is none.
        reused: Whether it was known from before.
    """

    text: str | None
    finished: bool = True
    tokens: int | None = None
    failure: Failure | None = None
    reused: bool = False

    @classmethod
    def failed(cls, kind: Any, message: str) -> Answered:
        """Return that there is no answer, and why."""
        return cls(None, False, failure=Failure(kind=kind, message=message))


Hear = Callable[[int, Answered], None]
"""Told the number of a question and what became of it."""


class AskedModel(Protocol):
    """Something that is evaluated.

    Attributes:
        asked: Which model it is.
    """

    @property
    def asked(self) -> ModelAsked:
        """Which model it is."""
        ...

    def answer(self, questions: Sequence[Question], hear: Hear) -> None:
        """Answer questions, in any order, telling each answer as it comes.

        Raises:
            DanluError: If the model answers nobody.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def message_of(row: dict[str, Any]) -> Message:
    """Read a message in the OpenAI form."""
    extra = {key: value for key, value in row.items() if key not in ("role", "content")}
    return Message(str(row["role"]), row.get("content"), extra=extra)
