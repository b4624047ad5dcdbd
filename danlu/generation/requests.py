"""What the engine is asked, and what it gives back piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from danlu.errors import DanluError
from danlu.generation.interface import Sampling

if TYPE_CHECKING:
    from danlu.generation.constrain import Constraint

Finish = Literal["stop", "length", "cancelled", "error"]
"""Why an answer ended: at a stop token or text, at its limit, because nobody wants it any more, or
because something failed."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token of an answer, with what else could have stood there.

    Attributes:
        token_id: The token.
        logprob: Natural logarithm of the probability that the model itself gives it.
        top: The likeliest tokens with their log-probabilities, falling.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of an answer.

    Attributes:
        text: Whole characters; empty while a character is not complete, or while what came may be
            the beginning of a stop text.
        tokens: How many tokens were drawn since the last piece.
        scores: Of these tokens, if asked for.
        finish: Set in the last piece, and only there.
        error: What failed, if ``finish`` is ``error``.
    """

    text: str
    tokens: int
    scores: tuple[TokenScore, ...] = ()
    finish: Finish | None = None
    error: str = ""


@dataclass(frozen=True)
class Request:
    """One answer that is wanted.

    Attributes:
        prompt: Token ids, at least one.
        sampling: How it is drawn; its ``logprobs`` asks for scores.
        on_piece: Called with each piece, in the engine's thread; must return at once.
        adapter: Which of the model's adapters answers; None: the base, or the only model there is.
        stop: The answer ends before the first of these texts.
        stop_ids: Tokens that end it.
        top_logprobs: How many likeliest tokens come with each score.
        bias: Added to the logits of single tokens.
        presence: Subtracted from the logits of tokens that have come, once.
        frequency: Subtracted from the logits of tokens that have come, each time.
        constraint: The form that the answer is held to, at its beginning; None if it is free.

    Raises:
        DanluError: If the prompt is empty or a stop text is.
    """

    prompt: Sequence[int]
    sampling: Sampling
    on_piece: Callable[[Piece], None]
    adapter: str | None = None
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    top_logprobs: int = 0
    bias: Mapping[int, float] = field(default_factory=dict)
    presence: float = 0.0
    frequency: float = 0.0
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        if not self.prompt:
            raise DanluError("the prompt has no tokens; there is nothing to answer.")
        if not all(self.stop):
            raise DanluError("a stop text is empty: every answer would end before it begins.")


class StopTexts:
    r"""Holds back what may be the beginning of a stop text, and ends before one that is whole.

    Example:
        >>> texts = StopTexts(("\nUser:",))
        >>> [texts.push(piece) for piece in ("Hi", "!\nUs", "e", "ful", "\nUser: no")]
        ['Hi', '!', '', '\nUseful', '']
        >>> texts.found
        True
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = stop
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Take more text; return what is certain to stand before a stop text."""
        if not self._stop or self.found:
            return "" if self.found else text
        text = self._held + text
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        hold = max(
            (n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n])),
            default=0,
        )
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]

    def finish(self) -> str:
        """Return what was held back, when no more comes."""
        held, self._held = self._held, ""
        return "" if self.found else held


@dataclass
class EngineCounts:
    """What the engine has done since it began; read them at any time.

    Attributes:
        requests: Taken on.
        finished: By how they ended.
        prompt_tokens: Of all prompts.
        shared_tokens: Of those, not computed because an earlier prompt began alike.
        answer_tokens: Drawn.
        steps: Computed.
        running: Answers under way.
        waiting: Requests not begun.
    """

    requests: int = 0
    finished: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    shared_tokens: int = 0
    answer_tokens: int = 0
    steps: int = 0
    running: int = 0
    waiting: int = 0
