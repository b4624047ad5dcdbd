"""What everything that needs answers from a model is handed: a ``Generator``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from danlu.errors import DanluError
from danlu.records.record import Message

Conversation = Sequence[Message] | str
"""Messages up to the answer wanted; a bare text is one user message."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn.

    Attributes:
        max_new_tokens: Longest answer, in tokens.
        greedy: Take the likeliest token each time; ``temperature``, ``top_p`` and ``seed`` are then
            without effect.
        temperature: Logits are divided by it; below 1 sharpens. 0.7 is the usual one for chats.
        top_p: Draw from the smallest set of tokens whose probability reaches this; 1 is all.
            Source: Holtzman et al. 2019, arXiv:1904.09751 (0.9 to 0.95 there).
        seed: Same seed, same prompts: same answers, however they are cut into batches.
        logprobs: Also return each token's log-probability.

    Raises:
        DanluError: If a value is out of range.
    """

    max_new_tokens: int = 512
    greedy: bool = False
    temperature: float = 0.7
    top_p: float = 0.95
    seed: int = 0
    logprobs: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise DanluError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1.")
        if not self.temperature > 0:
            raise DanluError(
                f"temperature is {self.temperature}; it must be above 0. For the likeliest answer "
                "use greedy."
            )
        if not 0 < self.top_p <= 1:
            raise DanluError(f"top_p is {self.top_p}; it must be above 0 and at most 1.")


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer.

    Attributes:
        text: The answer, without special tokens.
        token_ids: All tokens drawn, the stop token included.
        logprobs: Natural logarithm of the probability that the model itself gives each token
            (before temperature and top_p); None unless asked for.
        finished: Whether it ended with a stop token, not at a length limit.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    finished: bool


class Generator(Protocol):
    """Something that answers: in-process transformers, an endpoint, vLLM."""

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        """Return one completion for each conversation, in order."""
        ...
