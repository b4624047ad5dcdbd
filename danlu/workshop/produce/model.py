"""What the engine asks: an endpoint or a model in this process, behind one small interface."""

from __future__ import annotations

from typing import Any, Protocol

from danlu.generation.interface import Sampling
from danlu.workshop.produce.request import Request


class Model(Protocol):
    """Something that answers one request at a time, many at once.

    Attributes:
        name: What the cache knows it by: another name, other answers.
        concurrency: How many requests it answers well at a time.
    """

    @property
    def name(self) -> str:
        """What the cache knows it by."""

    @property
    def concurrency(self) -> int:
        """How many requests it answers well at a time."""

    def parameters(self, sampling: Sampling, seed: int) -> dict[str, Any]:
        """Return, as JSON has it, what an answer depends on beside model and messages."""

    async def respond(self, request: Request) -> dict[str, Any]:
        """Answer with the body of a chat completion, as OpenAI's interface has it.

        Raises:
            PassingError: If it may succeed soon.
            RefusedError: If this request will not be answered.
            EndpointError: If none will be.
        """

    async def close(self) -> None:
        """Give back what it holds."""
