"""What is asked of a server for its card, in which order, and what it comes to."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.errors import DanluError
from danlu.serving.latency import fit
from danlu.serving.latency.asking import Asked, Timing, timed
from danlu.serving.latency.card import (
    Arrivals,
    CardSettings,
    FirstToken,
    FirstTokenFit,
    Level,
)
from danlu.serving.latency.questions import question

FIRST_ANSWER_TOKENS = 2
"""Of questions about the first token: more would only take time."""
LEVEL_PROMPT_TOKENS = 32
SHARE_OF_MOST = 0.5
"""Arrivals by chance come at this share of what was answered at best, if no rate is given."""


@dataclass(frozen=True)
class Measured:
    """What a server did; see ``Target``."""

    first_tokens: list[FirstToken]
    first_token_fit: FirstTokenFit | None
    levels: list[Level]
    arrivals: list[Arrivals]
    failures: dict[str, int]
    counted: bool


def requests_of(settings: CardSettings) -> int:
    """Return how many requests a server is asked, for a progress bar."""
    alone = settings.warm_up + len(settings.prompt_tokens) * settings.repeats
    together = sum(settings.concurrency) * settings.rounds
    return alone + together + max(1, len(settings.rates)) * settings.arrivals


class Measuring:
    """Measures one server.

    Args:
        server: Whom to ask.
        model: What for.
        settings: How much.
        step: Called with the number of requests that have ended.
    """

    def __init__(
        self,
        server: Asked,
        model: str,
        settings: CardSettings,
        step: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._server, self._model = server, model
        self._settings, self._step = settings, step
        self._rng = random.Random(settings.seed)
        self._timings: list[Timing] = []
        self._done = 0
        self._ignore_stops = True

    async def all(self) -> Measured:
        """Measure everything.

        Raises:
            DanluError: If the server answers nothing at all.
        """
        await self._warm_up()
        first_tokens = await self._first_tokens()
        levels = [await self._level(users) for users in self._settings.concurrency]
        rates = self._settings.rates or self._usual_rate(levels)
        arrivals = [await self._arrivals(rate) for rate in rates]
        fitted = None
        if len({one.prompt_tokens for one in first_tokens}) >= 3:
            fitted = fit.hinge_fit(first_tokens, self._settings.seed)
        failures = Counter(one.failure for one in self._timings if one.failure)
        answered = [one for one in self._timings if not one.failure]
        return Measured(
            first_tokens,
            fitted,
            levels,
            arrivals,
            dict(failures.most_common()),
            all(one.counted for one in answered),
        )

    async def _ask(self, prompt_tokens: int, answer_tokens: int) -> Timing:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [
                {
                    "role": "user",
                    "content": question(self._rng, prompt_tokens, self._settings.language),
                }
            ],
            "max_tokens": answer_tokens,
            "temperature": 0,
        }
        if self._ignore_stops:  # vLLM, llama.cpp and Danlu know it; OpenAI's own refuses it
            body["ignore_eos"] = True
        timing = await timed(self._server, body, self._settings.seconds)
        self._done += 1
        self._step(self._done)
        return timing

    async def _warm_up(self) -> None:
        """Ask without keeping the time; find out what the server understands."""
        for number in range(max(1, self._settings.warm_up)):
            found = await self._ask(LEVEL_PROMPT_TOKENS, FIRST_ANSWER_TOKENS)
            if found.failure == "status 400" and self._ignore_stops:
                self._ignore_stops = False
                found = await self._ask(LEVEL_PROMPT_TOKENS, FIRST_ANSWER_TOKENS)
            if number == 0 and found.failure:
                raise DanluError(
                    f"the first request was not answered ({found.failure}), so nothing is "
                    "measured: is this the right model, and does it need a key?",
                    where=self._model,
                )

    async def _first_tokens(self) -> list[FirstToken]:
        """Ask one at a time, lengths mixed, so that what else the machine does hits all alike."""
        lengths = list(self._settings.prompt_tokens) * self._settings.repeats
        self._rng.shuffle(lengths)
        by_length: dict[int, list[Timing]] = {length: [] for length in self._settings.prompt_tokens}
        for length in lengths:
            found = await self._ask(length, FIRST_ANSWER_TOKENS)
            self._timings.append(found)
            if not found.failure:
                by_length[length].append(found)
        rows = []
        for length, found_ones in by_length.items():
            # Words are not tokens: of about one length, one number stands for all.
            told = [one.prompt_tokens for one in found_ones if one.prompt_tokens is not None]
            tokens = round(sum(told) / len(told)) if told else length
            rows += [FirstToken(prompt_tokens=tokens, seconds=one.first_s) for one in found_ones]
        return rows

    async def _level(self, users: int) -> Level:
        async def user() -> list[Timing]:
            tokens = self._settings.answer_tokens
            return [
                await self._ask(LEVEL_PROMPT_TOKENS, tokens) for _ in range(self._settings.rounds)
            ]

        found = [
            one for own in await asyncio.gather(*(user() for _ in range(users))) for one in own
        ]
        self._timings += found
        answered = [one for one in found if not one.failure]
        longer = [one for one in answered if one.answer_tokens > 1]
        seed = self._settings.seed + users
        per_token = None
        if longer:
            per_token = fit.ratio(
                [one.whole_s - one.first_s for one in longer],
                [one.answer_tokens - 1 for one in longer],
                seed,
            )
        seconds = _span(found)
        return Level(
            concurrency=users,
            requests=len(found),
            failed=len(found) - len(answered),
            first_s=fit.mean([one.first_s for one in answered], seed) if answered else None,
            per_token_s=per_token,
            tokens_per_second=sum(one.answer_tokens for one in answered) / seconds,
            characters_per_second=sum(one.characters for one in answered) / seconds,
            seconds=seconds,
        )

    def _usual_rate(self, levels: Sequence[Level]) -> tuple[float, ...]:
        best = max((one.requests - one.failed) / one.seconds for one in levels)
        return (round(SHARE_OF_MOST * best, 3),) if best > 0 else ()

    async def _arrivals(self, rate: float) -> Arrivals:
        """Send requests by chance; none waits for another."""
        gaps = random.Random(self._settings.seed)
        under_way = most = 0

        async def one(wait_s: float) -> Timing:
            nonlocal under_way, most
            await asyncio.sleep(wait_s)
            under_way += 1
            most = max(most, under_way)
            try:
                return await self._ask(LEVEL_PROMPT_TOKENS, self._settings.answer_tokens)
            finally:
                under_way -= 1

        at, waits = 0.0, []
        for _ in range(self._settings.arrivals):
            waits.append(at)
            at += gaps.expovariate(rate)
        found = list(await asyncio.gather(*(one(wait) for wait in waits)))
        self._timings += found
        answered = [one for one in found if not one.failure]
        seconds = _span(found)
        return Arrivals(
            rate=rate,
            requests=len(found),
            failed=len(found) - len(answered),
            first_s=fit.percentiles([one.first_s for one in answered]) if answered else None,
            whole_s=fit.percentiles([one.whole_s for one in answered]) if answered else None,
            most_at_once=most,
            tokens_per_second=sum(one.answer_tokens for one in answered) / seconds,
            characters_per_second=sum(one.characters for one in answered) / seconds,
            seconds=seconds,
        )


def _span(timings: Sequence[Timing]) -> float:
    """Return the seconds from the first request to the last answer; never 0."""
    began = min(one.began_s for one in timings)
    return max(max(one.ended_s for one in timings) - began, 1e-9)
