"""A model at an OpenAI-compatible endpoint, asked through the workshop's engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from danlu.evaluation.asking.model import Answered, Hear, Question
from danlu.evaluation.schema import FailureKind, ModelAsked
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.endpoint import Endpoint
from danlu.workshop.produce.engine import Engine
from danlu.workshop.produce.pace import Pacing
from danlu.workshop.produce.request import Reply, Request, Unanswered

_TOO_LONG = ("context length", "context window", "too long", "maximum context", "context size")


class EndpointModel:
    """A model behind an address.

    Args:
        endpoint: Where it is.
        cache: Where answers are kept.
        pacing: How fast and how patiently it is asked.
    """

    def __init__(
        self, endpoint: Endpoint, cache: RequestCache, pacing: Pacing | None = None
    ) -> None:
        text = f"{endpoint.url} {endpoint.name} {sorted(endpoint.extra.items())}"
        self.asked = ModelAsked(
            name=endpoint.name,
            fingerprint=hashlib.blake2b(text.encode(), digest_size=6).hexdigest(),
            address=endpoint.url,
        )
        self._engine = Engine(
            _Addressed(endpoint), cache, pacing=pacing, on_failure="drop", ask_refused_again=False
        )

    def answer(self, questions: Sequence[Question], hear: Hear) -> None:
        """Answer questions, several at a time.

        Raises:
            EndpointError: If the endpoint is down, or lets nobody in.
        """
        requests = [Request(one.messages, one.sampling) for one in questions]
        self._engine.ask(
            requests, hear=lambda number, outcome, known: hear(number, _answered(outcome, known))
        )

    def close(self) -> None:
        """Close the connections."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Addressed:
    """An endpoint whose answers are kept under its address too: names such as ``default`` recur."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.name = f"{endpoint.url} {endpoint.name}"
        self.concurrency = endpoint.concurrency
        self.parameters: Callable[..., dict[str, Any]] = endpoint.parameters
        self.respond = endpoint.respond
        self.close = endpoint.close


def _answered(outcome: Reply | Unanswered, known: bool) -> Answered:
    if isinstance(outcome, Unanswered):
        return Answered.failed(_kind(outcome), outcome.reason)
    return Answered(outcome.text, outcome.finished, outcome.completion_tokens, reused=known)


def _kind(outcome: Unanswered) -> FailureKind:
    """Say what kind of failure an endpoint's words mean.

    Example:
        >>> _kind(Unanswered("This model's maximum context length is 4096 tokens", refused=True))
        'too_long'
        >>> _kind(Unanswered("no answer within 300 s", refused=False))
        'timeout'
    """
    if outcome.refused:
        lowered = outcome.reason.lower()
        return "too_long" if any(words in lowered for words in _TOO_LONG) else "refused"
    return "timeout" if outcome.reason.startswith("no answer within") else "endpoint"
