"""How fast a model is asked: requests and tokens per minute, pauses, and waits between tries."""

from __future__ import annotations

import random
from dataclasses import dataclass

from danlu.errors import DanluError
from danlu.workshop.likeness.text import has_han

MINUTE_S = 60.0
TOKENS_PER_MESSAGE = 8


@dataclass(frozen=True)
class Pacing:
    """How fast and how patiently.

    Attributes:
        concurrency: Requests under way at a time; None leaves it to the model.
        requests_per_minute: None is no limit.
        tokens_per_minute: Prompts and answers together; None is no limit.
        attempts: How often one request is asked before it counts as failed.
        first_wait_s: Longest wait before the second attempt; it doubles with each further one.
        longest_wait_s: Where the doubling ends.
        patience_s: An endpoint that asks to wait longer than this has failed.

    Raises:
        DanluError: If a value is out of range.
    """

    concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    attempts: int = 8
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    patience_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "requests_per_minute", "tokens_per_minute", "attempts"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise DanluError(f"{name} is {value}; it must be above 0.")

    def wait_s(self, attempt: int, chance: random.Random) -> float:
        """Return how long to wait after a failed attempt, counted from 1.

        Drawn evenly from half the limit to the limit, which doubles with each attempt: so that
        requests that failed together do not come again together.
        """
        limit: float = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (attempt - 1))
        return limit * (0.5 + chance.random() / 2)


class Pace:
    """When the next request may start.

    Requests are spread evenly: one starts no sooner after another than its share of a minute, by
    requests and by tokens. Tokens are estimated before, and put right when they are known.

    Args:
        pacing: The limits.
    """

    def __init__(self, pacing: Pacing) -> None:
        self._per_request_s = MINUTE_S / (pacing.requests_per_minute or float("inf"))
        self._per_token_s = MINUTE_S / (pacing.tokens_per_minute or float("inf"))
        self._by_requests = self._by_tokens = self._held_until = float("-inf")

    def book(self, now: float, tokens: int) -> float:
        """Take the next start, and return when it is; ``now`` and the result in seconds."""
        start = max(now, self._by_requests, self._by_tokens, self._held_until)
        self._by_requests = start + self._per_request_s
        self._by_tokens = start + tokens * self._per_token_s
        return start

    def correct(self, tokens: int) -> None:
        """Book more tokens, or give some back."""
        self._by_tokens += tokens * self._per_token_s

    def hold(self, until: float) -> None:
        """Start nothing before."""
        self._held_until = max(self._held_until, until)

    def held(self, now: float) -> float:
        """Return when a request that has its start may run: now, or when a pause ends."""
        return max(now, self._held_until)


def estimate_tokens(text: str, messages: int = 1) -> int:
    """Guess from above how many tokens a text has, before a model has counted them.

    A Chinese character is taken for one token, three other characters likewise: today's tokenizers
    need fewer.

    Example:
        >>> estimate_tokens("What is the capital of France?"), estimate_tokens("法国的首都是哪里？")
        (18, 17)
    """
    wide = sum(1 for character in text if not character.isascii()) if has_han(text) else 0
    return wide + -(-(len(text) - wide) // 3) + TOKENS_PER_MESSAGE * messages
