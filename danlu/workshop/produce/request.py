"""What is asked of a model, and what comes back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.generation.interface import Sampling
from danlu.records.record import Message

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode

REASONING_FIELDS = ("reasoning_content", "reasoning")
_THOUGHT = re.compile(r"\A\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)
_OPEN_THOUGHT = re.compile(r"\A(.*?)</think>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Request:
    """One answer that is wanted.

    Attributes:
        messages: The conversation up to the answer.
        sampling: How it is drawn.
        sample: Tells several answers to the same question apart.
        item: What the answer is about, such as a record's id: each item has draws of its own. Of
            greedy answers, which nothing draws, it is without effect.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    sample: int = 0
    item: str = ""

    @property
    def seed(self) -> int:
        """The seed of this sample of this item, the same in every run.

        With one seed for all items, each would begin with the same random numbers: items with
        one prompt would have one answer, and those with prompts alike answers that are alike.

        Example:
            >>> [Request((), Sampling(seed=7), sample, "a").seed for sample in (0, 1)]
            [973546099, 46590085]
            >>> Request((), Sampling(seed=7, greedy=True), 1, "a").seed
            8
        """
        if self._draws_alone:
            text = f"{self.sampling.seed}/{self.sample}/{self.item}"
            digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).digest()
            return int.from_bytes(digest) >> 1  # endpoints take 31 bits
        return self.sampling.seed + self.sample

    @property
    def _draws_alone(self) -> bool:
        return bool(self.item) and not self.sampling.greedy

    def rendered(self) -> list[dict[str, Any]]:
        """Return the messages as an endpoint takes them."""
        return [message.as_dict() for message in self.messages]

    def text(self) -> str:
        """Return all that is said in the messages."""
        return "\n".join(message.content or "" for message in self.messages)


def identity_of(request: Request, model: str, parameters: Mapping[str, Any]) -> str:
    """Return, as JSON, all that an answer depends on: what the cache knows a request by."""
    parts = {"messages": request.rendered(), "model": model, "parameters": parameters}
    # An endpoint may take no seed: its answers to two items are two answers all the same.
    item = {"item": request.item} if request._draws_alone else {}
    return _encode(parts | {"sample": request.sample} | item)


def key_of(identity: str) -> str:
    """Hash an identity to 32 hexadecimal digits."""
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        text: Without its reasoning.
        reasoning: What the model thought before, where it says so: in a field of its own, or in
            the text between ``<think>`` and ``</think>``.
        finished: Whether it ended by itself, not at the longest length allowed.
        prompt_tokens: As the endpoint counted them; None if it did not.
        completion_tokens: Likewise, reasoning included.
    """

    text: str
    reasoning: str = ""
    finished: bool = True
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @classmethod
    def of(cls, body: Any) -> Reply:
        """Read the body of a chat completion, as OpenAI's interface has it.

        Raises:
            ValueError: If it holds no answer.

        Example:
            >>> message = {"role": "assistant", "content": "<think>two twos</think> 4"}
            >>> Reply.of({"choices": [{"message": message, "finish_reason": "stop"}]})
            Reply(text='4', reasoning='two twos', finished=True, prompt_tokens=None, \
completion_tokens=None)
        """
        choice = _choice(body)
        message = choice.get("message")
        if not isinstance(message, Mapping):
            raise ValueError("the answer holds no message")
        text = _text(message.get("content"))
        reasoning = ""
        for name in REASONING_FIELDS:
            if isinstance(message.get(name), str) and message[name]:
                reasoning = message[name]
                break
        if not reasoning:
            reasoning, text = split_reasoning(text)
        usage = body.get("usage")
        usage = usage if isinstance(usage, Mapping) else {}
        return cls(
            text.strip(),
            reasoning.strip(),
            choice.get("finish_reason") != "length",
            _count(usage.get("prompt_tokens")),
            _count(usage.get("completion_tokens")),
        )


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request without an answer.

    Attributes:
        reason: Why, as the endpoint said it.
        refused: Whether the endpoint will not answer it at all; otherwise it could not just then.
    """

    reason: str
    refused: bool


def split_reasoning(text: str) -> tuple[str, str]:
    """Cut a text into its reasoning and the rest.

    A thought that does not end is all reasoning; one whose beginning the chat template wrote has
    only its end.

    Example:
        >>> split_reasoning("<think>hm</think>Yes."), split_reasoning("hm</think>Yes.")
        (('hm', 'Yes.'), ('hm', 'Yes.'))
        >>> split_reasoning("<think>hm, so"), split_reasoning("Yes.")
        (('hm, so', ''), ('', 'Yes.'))
    """
    found = _THOUGHT.match(text) or _OPEN_THOUGHT.match(text)
    if not found:
        return "", text
    return found[1].strip(), text[found.end() :]


def completion_body(
    text: str, *, finished: bool, prompt_tokens: int, completion_tokens: int
) -> dict[str, Any]:
    """Return an answer as the body of a chat completion."""
    return {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop" if finished else "length",
            }
        ],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens},
    }


def _choice(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise ValueError("the answer is no JSON object")
    choices = body.get("choices")
    if isinstance(choices, Sequence) and choices and isinstance(choices[0], Mapping):
        return choices[0]
    error = body.get("error")
    raise ValueError(f"an error in place of an answer: {error}" if error else "no choices")


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    raise ValueError("the answer's content is no text")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
