"""A record as checks see it: what several of them need is worked out once, when it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from danlu.records import Record, Response
from danlu.records.record import TEXT_ROLE
from danlu.sequences.answers import verdicts
from danlu.sequences.branch import DOWN
from danlu.workshop.likeness.text import fold, units

SYSTEM_ROLES = ("system", "developer")

_fold_often = lru_cache(maxsize=256)(fold)


class Lengths(NamedTuple):
    """Tokens of one branch.

    Attributes:
        prompt: Of what the model is shown.
        completion: Of what it learns to write, with the stop token.
        weight: The message's weight.
    """

    prompt: int
    completion: int
    weight: float


class Turn:
    """An answer to be learned, and what it answers.

    Attributes:
        index: Of the answer among the messages; their number for a response.
        prompt: The last message of the user before it; of another role where there is none.
        answer: Its text.
        weight: Of the message in the loss.
    """

    def __init__(self, index: int, prompt: str, answer: str, weight: float = 1.0) -> None:
        self.index = index
        self.prompt = prompt
        self.answer = answer
        self.weight = weight

    @cached_property
    def folded_prompt(self) -> str:
        """The prompt, folded."""
        return fold(self.prompt)

    @cached_property
    def folded_answer(self) -> str:
        """The answer, folded."""
        return fold(self.answer)

    @cached_property
    def prompt_units(self) -> list[str]:
        """The units of the folded prompt."""
        return units(self.folded_prompt)

    @cached_property
    def answer_units(self) -> list[str]:
        """The units of the folded answer."""
        return units(self.folded_answer)


class View:
    """A record as checks see it.

    Attributes:
        record: The record.
        id: Its id.
        task_type: Its task type.
        texts: The text of every message and response; empty where there is none.
        lengths: Of its branches in tokens; None where no tokenizer is given.
        seed: Of its draw.
    """

    def __init__(self, record: Record, seed: int = 0, lengths: list[Lengths] | None = None) -> None:
        self.record = record
        self.id = record.id
        self.task_type = record.task_type
        self.texts = [message.content or "" for message in record.messages]
        if record.responses:
            self.texts += [response.content for response in record.responses]
        self.lengths = lengths
        self.seed = seed

    @cached_property
    def whole(self) -> str:
        """All texts, one after another, with a line's end between two of them."""
        return "\n".join(self.texts)

    def place(self, offset: int) -> str:
        """Say to which message a character of ``whole`` belongs.

        Example:
            >>> from danlu.records import Message
            >>> turns = (Message("user", "Hi"), Message("assistant", "Hello"))
            >>> View(Record("1", "a/b", turns)).place(3)
            'message 2 (assistant)'
        """
        for number, text in enumerate(self.texts):
            if offset <= len(text):
                return self.name_of(number)
            offset -= len(text) + 1
        raise ValueError(f"the texts end {offset} characters before")

    def name_of(self, index: int) -> str:
        """Name a message, or a response that comes after them."""
        messages = self.record.messages
        if index < len(messages):
            return f"message {index + 1} ({messages[index].role})"
        return f"response {index - len(messages) + 1}"

    @cached_property
    def turns(self) -> list[Turn]:
        """The answers to be learned: of weight above 0 and not empty; of responses the best."""
        found = []
        prompt = ""
        asked = False
        for index, message in enumerate(self.record.messages):
            if message.role == "assistant":
                if message.content and message.weight > 0 and message.content.strip():
                    found.append(Turn(index, prompt, message.content, message.weight))
            elif message.role == "user":
                prompt, asked = message.content or "", True
            elif not asked and message.role not in SYSTEM_ROLES and message.role != TEXT_ROLE:
                prompt = message.content or ""
        if self.record.responses and (best := best_response(self.record.responses)) is not None:
            number, answer = best
            found.append(Turn(len(self.record.messages) + number, prompt, answer.content))
        return found

    @cached_property
    def system(self) -> str:
        """The system prompt; empty if there is none."""
        first = self.record.messages[0]
        return first.content or "" if first.role in SYSTEM_ROLES else ""

    @cached_property
    def folded_system(self) -> str:
        """The system prompt, folded."""
        return _fold_often(self.system) if self.system else ""

    @cached_property
    def draw(self) -> int:
        """A number that depends on the seed and the id alone, from 0 to 2**64 - 1."""
        salt = self.seed.to_bytes(16, "big", signed=True)
        digest = hashlib.blake2b(self.id.encode(), digest_size=8, salt=salt).digest()
        return int.from_bytes(digest, "big")


def best_response(responses: Sequence[Response]) -> tuple[int, Response] | None:
    """Return which response is to be learned from; None if all are bad or unjudged.

    Example:
        >>> best_response([Response("a", rank=2), Response("b", rank=1)])
        (1, Response(content='b', rank=1, score=None, label=None))
        >>> best_response([Response("a", label=False)])
    """
    judged = [
        (one.rank, number)
        for number, one in enumerate(verdicts(responses))
        if one.rank > 0 and one.label != DOWN
    ]
    if not judged:
        return None
    number = min(judged)[1]
    return number, responses[number]
