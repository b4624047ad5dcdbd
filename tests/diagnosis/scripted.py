"""Models that answer from tables, so that each verdict is reached by a case that can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from danlu.diagnosis.asking import Ask, Likely, Pair, Reply
from danlu.generation.interface import Sampling

TOKENS = 10
"""Of every text, so that nats per token are the log-probability over ten."""


class Scripted:
    """Answers by the last thing said; ``asked`` counts the questions.

    Args:
        answers: Text by question, or a function of what is asked and of the seed.
        nll: Nats per token by question, or a function of the pair.
    """

    def __init__(
        self,
        answers: Mapping[str, str] | Callable[[Ask, int], str],
        nll: Mapping[str, float] | Callable[[Pair], float] | float = 1.0,
        *,
        name: str = "tuned",
        unfinished: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.answers, self.nll, self.unfinished = answers, nll, unfinished
        self.asked = 0

    def answer(self, asks: Sequence[Ask], sampling: Sampling) -> list[Reply | None]:
        self.asked += len(asks)
        return [self._reply(ask, sampling.seed) for ask in asks]

    def _reply(self, ask: Ask, seed: int) -> Reply:
        text = self.answers(ask, seed) if callable(self.answers) else self.answers[ask.question]
        return Reply(text, ask.question not in self.unfinished, TOKENS)

    def likelihoods(self, pairs: Sequence[Pair]) -> list[Likely | None]:
        return [Likely(-TOKENS * self._nll(pair), TOKENS, False) for pair in pairs]

    def _nll(self, pair: Pair) -> float:
        if isinstance(self.nll, float | int):
            return self.nll
        return self.nll(pair) if callable(self.nll) else self.nll[pair.ask.question]
