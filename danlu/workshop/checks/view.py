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
from danlu.workshop.checks.content import content_set
from danlu.workshop.checks.counting import text_key
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


class Text:
    """A text, and what is made of it: each once, when it is first asked for.

    Attributes:
        plain: The text.
    """

    def __init__(self, plain: str) -> None:
        self.plain = plain

    @cached_property
    def folded(self) -> str:
        """The text, folded."""
        return fold(self.plain)

    @cached_property
    def units(self) -> list[str]:
        """The units of the folded text."""
        return units(self.folded)

    @cached_property
    def content(self) -> frozenset[str]:
        """Those of its units that carry content."""
        return content_set(self.units)

    @cached_property
    def key(self) -> int:
        """Stands for the folded text where equal ones are looked for."""
        return text_key(self.folded)


_NO_TEXT = Text("")


class Turn:
    """An answer to be learned, and what it answers.

    Attributes:
        index: Of the answer among the messages; their number for a response.
        asked: The last message of the user before it; of another role where there is none.
        answered: The answer.
        prompt: The text of the former.
        answer: The text of the latter.
        weight: Of the message in the loss.
    """

    def __init__(self, index: int, asked: Text, answered: Text, weight: float = 1.0) -> None:
        self.index = index
        self.asked = asked
        self.answered = answered
        self.prompt = asked.plain
        self.answer = answered.plain
        self.weight = weight

    @property
    def folded_prompt(self) -> str:
        """The prompt, folded."""
        return self.asked.folded

    @property
    def folded_answer(self) -> str:
        """The answer, folded."""
        return self.answered.folded

    @property
    def prompt_units(self) -> list[str]:
        """The units of the folded prompt."""
        return self.asked.units

    @property
    def answer_units(self) -> list[str]:
        """The units of the folded answer."""
        return self.answered.units


class Head(NamedTuple):
    """What is kept of a record when its text is done with.

    Attributes:
        id: Of the record.
        task_type: Of the record.
        tags: Of the record.
        draw: A number that depends on the seed and the id alone, from 0 to 2**64 - 1.
    """

    id: str
    task_type: str
    tags: tuple[str, ...]
    draw: int


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
    def head(self) -> Head:
        """What is kept of the record when its text is done with."""
        return Head(self.id, self.task_type, self.record.tags, self.draw)

    @cached_property
    def _made(self) -> dict[int, Text]:
        return {}

    def text(self, index: int) -> Text:
        """Return a message or response, the same object each time."""
        found = self._made.get(index)
        if found is None:
            found = self._made[index] = Text(self.texts[index])
        return found

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
        prompt = _NO_TEXT
        asked = False
        for index, message in enumerate(self.record.messages):
            if message.role == "assistant":
                if message.content and message.weight > 0 and message.content.strip():
                    found.append(Turn(index, prompt, self.text(index), message.weight))
            elif message.role == "user":
                prompt, asked = self.text(index), True
            elif not asked and message.role not in SYSTEM_ROLES and message.role != TEXT_ROLE:
                prompt = self.text(index)
        if self.record.responses and (best := best_response(self.record.responses)) is not None:
            index = len(self.record.messages) + best
            found.append(Turn(index, prompt, self.text(index)))
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


def best_response(responses: Sequence[Response]) -> int | None:
    """Return which response is to be learned from; None if all are bad or unjudged.

    Example:
        >>> best_response([Response("a", rank=2), Response("b", rank=1)])
        1
        >>> best_response([Response("a", label=False)])
    """
    judged = [
        (one.rank, number)
        for number, one in enumerate(verdicts(responses))
        if one.rank > 0 and one.label != DOWN
    ]
    return min(judged)[1] if judged else None
