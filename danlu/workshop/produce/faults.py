"""What goes wrong when a model is asked: for a moment, for one request, or for all."""

from __future__ import annotations

from danlu.errors import DanluError


class PassingError(Exception):
    """It failed now and may succeed soon: a time-out, too many requests, a broken answer.

    Args:
        reason: What happened.
        retry_after_s: How long the endpoint asks to wait; None if it does not say.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        self.reason = reason
        self.retry_after_s = retry_after_s
        super().__init__(reason)


class RefusedError(Exception):
    """The endpoint will not answer this request: too long, forbidden content, a bad parameter."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class EndpointError(DanluError):
    """An endpoint that answers no request: not there, another address, no right to ask."""


class UnansweredError(DanluError):
    """Some requests got no answer though they were asked again and again."""


class BudgetError(DanluError):
    """The budget is spent, and not everything is answered."""


class CacheError(DanluError):
    """A request cache that cannot be read or written."""
