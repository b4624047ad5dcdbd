"""The engine: many requests to one model; no answer lost, none asked for twice, none too many."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from danlu.errors import DanluError
from danlu.workshop.produce.budget import Budget, Prices, Purse
from danlu.workshop.produce.cache import Kept, RequestCache
from danlu.workshop.produce.faults import (
    BudgetError,
    EndpointError,
    PassingError,
    RefusedError,
    UnansweredError,
)
from danlu.workshop.produce.model import Model
from danlu.workshop.produce.own_loop import OwnLoop
from danlu.workshop.produce.pace import Pace, Pacing, estimate_tokens
from danlu.workshop.produce.request import Reply, Request, Unanswered, identity_of, key_of

OnFailure = Literal["stop", "drop"]

FAILED_IN_A_ROW = 3
"""So many requests failed one after another, each after all its attempts: the endpoint is down."""
REFUSED_IN_A_ROW = 10
"""So many refused before a first answer: the settings are wrong, not the requests."""


@dataclass(frozen=True)
class Status:
    """How far the requests of one call are.

    Attributes:
        done: Answered, refused or failed, of these from the cache ``cached``.
        total: All of the call.
        cached: Known before.
        unanswered: Refused or failed.
        retries: Attempts after the first, over the engine's life.
        prompt_tokens: Spent over the engine's life.
        completion_tokens: Likewise.
        money: Likewise.
    """

    done: int = 0
    total: int = 0
    cached: int = 0
    unanswered: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0


Tell = Callable[[Status], None]
Hear = Callable[[int, Reply | Unanswered, bool], None]
"""Told a request's place, what became of it, and whether the cache knew that."""


class _Asked(NamedTuple):
    """A request that the cache does not answer."""

    key: str
    identity: str
    request: Request


class Engine:
    """Asks a model, through the cache.

    Used as a context manager, or closed with ``close``.

    Args:
        model: What answers.
        cache: Where answers are kept.
        pacing: How fast and how patiently.
        budget: What may be spent in the engine's life.
        prices: What tokens cost.
        on_failure: Whether a request that failed for the time being stops the work, when all
            others have been asked, or is given back as unanswered.
        ask_refused_again: Ask also what was refused before.
        tell: Told of every request that is done.
        chance: Draws the waits; another one for tests.
    """

    def __init__(
        self,
        model: Model,
        cache: RequestCache,
        *,
        pacing: Pacing | None = None,
        budget: Budget | None = None,
        prices: Prices | None = None,
        on_failure: OnFailure = "stop",
        ask_refused_again: bool = False,
        tell: Tell | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self.model = model
        self.cache = cache
        self.pacing = pacing or Pacing()
        self.purse = Purse(budget or Budget(), prices or Prices())
        self.on_failure = on_failure
        self.ask_refused_again = ask_refused_again
        self.tell = tell
        self.retries = 0
        self._answered = 0
        self._chance = chance or random.Random()
        self._pace = Pace(self.pacing)
        self._loop: OwnLoop | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def settings(self) -> dict[str, Any]:
        """Say what shapes the answers, for the id of a version."""
        return {"model": self.model.name, "on_failure": self.on_failure}

    def identity(self, request: Request) -> str:
        """Return what the cache knows a request by."""
        parameters = self.model.parameters(request.sampling, request.seed)
        return identity_of(request, self.model.name, parameters)

    def ask(
        self, requests: Sequence[Request], *, hear: Hear | None = None
    ) -> list[Reply | Unanswered]:
        """Return what became of each request, in their order, whenever the answers came.

        Equal requests are asked once. Where an event loop is running, as in a notebook, the asking
        is done in a thread beside it.

        Args:
            requests: What is wanted.
            hear: Told of each as soon as it is known.

        Raises:
            BudgetError: If the budget does not suffice. What was under way has been waited for.
            EndpointError: If the endpoint is down, or answers nobody.
            UnansweredError: If requests have failed, and ``on_failure`` is ``stop``.
            CacheError: If an answer cannot be kept.
        """
        asked = [self._asked(request) for request in requests]
        if self._loop is None:
            self._loop = OwnLoop()
        found = self._loop.run(_Call(self, asked, hear).run())
        return [found[one.key] for one in asked]

    def close(self) -> None:
        """Close the model's connections."""
        if self._loop is not None:
            self._loop.run(self.model.close())
            self._loop.close()
            self._loop = None

    # What a call does to the engine ------------------------------------------------------

    def _asked(self, request: Request) -> _Asked:
        identity = self.identity(request)
        return _Asked(key_of(identity), identity, request)

    async def _attempts(self, one: _Asked, call: _Call) -> Reply | Unanswered | None:
        """Ask until there is an answer or no patience left; None if the call ended meanwhile."""
        loop = asyncio.get_running_loop()
        guess = estimate_tokens(one.request.text(), len(one.request.messages))
        reason = ""
        for attempt in range(1, self.pacing.attempts + 1):
            start = self._pace.book(loop.time(), guess + one.request.sampling.max_new_tokens)
            # A pause may have begun while this one waited for its turn.
            while (now := loop.time()) < start:
                if await call.ended_within(start - now):
                    return None
                start = max(start, self._pace.held(start))
            try:
                body = await self.model.respond(one.request)
            except RefusedError as error:
                self._pace.correct(-guess - one.request.sampling.max_new_tokens)
                self.cache.keep_failure(one.key, one.identity, error.reason, refused=True)
                return Unanswered(error.reason, refused=True)
            except PassingError as error:
                reason = error.reason
                self._pace.correct(-one.request.sampling.max_new_tokens)
                wait = self.pacing.wait_s(attempt, self._chance)
                if error.retry_after_s is not None:
                    if error.retry_after_s > self.pacing.patience_s:
                        reason += f"; it asks to wait {error.retry_after_s:,.0f} s"
                        break
                    self._pace.hold(loop.time() + error.retry_after_s)
                    wait = error.retry_after_s + wait / 10
                if attempt == self.pacing.attempts:
                    break
                self.retries += 1
                if await call.ended_within(wait):
                    return None
                continue
            self.cache.keep_answer(one.key, one.identity, body)
            reply = Reply.of(body)
            self._count(reply, guess, one.request)
            return reply
        self.cache.keep_failure(one.key, one.identity, reason, refused=False)
        return Unanswered(reason, refused=False)

    def _count(self, reply: Reply, guess: int, request: Request) -> None:
        """Count what an answer has cost: as the endpoint says, else as it is guessed."""
        prompt = reply.prompt_tokens if reply.prompt_tokens is not None else guess
        completion = reply.completion_tokens
        if completion is None:
            completion = estimate_tokens(reply.text + reply.reasoning, 0)
        self.purse.spend(prompt, completion)
        self._pace.correct(prompt + completion - guess - request.sampling.max_new_tokens)
        self._answered += 1


class _Call:
    """One call of ``Engine.ask``."""

    def __init__(self, engine: Engine, asked: Sequence[_Asked], hear: Hear | None = None) -> None:
        self._engine = engine
        self._hear = hear
        self._places: dict[str, list[int]] = {}
        for place, one in enumerate(asked):
            self._places.setdefault(one.key, []).append(place)
        self._found: dict[str, Reply | Unanswered] = {}
        self._waiting: dict[str, _Asked] = {}
        self._failed_in_a_row = 0
        self._refused = 0
        self._fault: DanluError | None = None
        for one in asked:
            if one.key in self._found or one.key in self._waiting:
                continue
            known = self._known(engine.cache.get(one.key))
            if known is None:
                self._waiting[one.key] = one
            else:
                self._found[one.key] = known
                self._told_of(one.key, known, known=True)
        self._cached = len(self._found)

    async def run(self) -> dict[str, Reply | Unanswered]:
        """Ask what is not known, and return what became of all, by key."""
        self._ended = asyncio.Event()
        self._freed = asyncio.Condition()
        self._tell()
        if self._waiting:
            queue = iter(self._waiting.values())
            count = self._engine.pacing.concurrency or self._engine.model.concurrency
            async with asyncio.TaskGroup() as group:
                for _ in range(min(count, len(self._waiting))):
                    group.create_task(self._work(queue))
        if self._fault is not None:
            raise self._fault
        self._check_failures()
        return self._found

    async def ended_within(self, seconds: float) -> bool:
        """Wait; True as soon as the call is to end."""
        try:
            await asyncio.wait_for(self._ended.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _work(self, queue: Iterator[_Asked]) -> None:
        """Ask one request after another, until there is none or the call is to end."""
        purse = self._engine.purse
        while not self._ended.is_set() and (one := next(queue, None)) is not None:
            guess = estimate_tokens(one.request.text(), len(one.request.messages))
            most = (guess, one.request.sampling.max_new_tokens)
            async with self._freed:
                while not purse.take(*most):
                    if not purse.set_aside or self._ended.is_set():
                        self._end(self._poor(most))
                        return
                    await self._freed.wait()
            try:
                outcome = await self._engine._attempts(one, self)
            except DanluError as error:
                self._end(error)
                return
            finally:
                purse.give_back(*most)
                async with self._freed:
                    self._freed.notify_all()
            if outcome is not None:
                self._done(one, outcome)

    def _done(self, one: _Asked, outcome: Reply | Unanswered) -> None:
        self._found[one.key] = outcome
        self._told_of(one.key, outcome, known=False)
        self._tell()
        if isinstance(outcome, Reply):
            self._failed_in_a_row = 0
        elif not outcome.refused:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= FAILED_IN_A_ROW:
                self._end(
                    EndpointError(
                        f"the endpoint seems to be down: {self._failed_in_a_row} requests failed "
                        f"one after another, each {self._engine.pacing.attempts} times; the last: "
                        f"{outcome.reason}. {self._kept()}"
                    )
                )
        else:
            self._refused += 1
            if self._refused >= REFUSED_IN_A_ROW and not self._engine._answered:
                self._end(
                    EndpointError(
                        f"the endpoint refuses every request: {outcome.reason}. Look at the "
                        "settings: the model's name, parameters that it does not take, the length "
                        "of answers."
                    )
                )

    def _told_of(self, key: str, outcome: Reply | Unanswered, *, known: bool) -> None:
        if self._hear is not None:
            for place in self._places[key]:
                self._hear(place, outcome, known)

    def _end(self, fault: DanluError) -> None:
        """Begin nothing more; the first fault is the one that is told."""
        self._fault = self._fault or fault
        self._ended.set()

    def _poor(self, most: tuple[int, int]) -> BudgetError:
        purse = self._engine.purse
        tokens = f"{sum(most):,} tokens"
        return BudgetError(
            f"the budget is spent: {purse.spent()}, and one more answer may take {tokens}. "
            f"{self._kept('with a new budget')}"
        )

    def _check_failures(self) -> None:
        if self._engine.on_failure == "drop":
            return
        failed = [o for o in self._found.values() if isinstance(o, Unanswered) and not o.refused]
        if failed:
            raise UnansweredError(
                f"{len(failed)} of {len(self._found)} requests failed, each "
                f"{self._engine.pacing.attempts} times; the first: {failed[0].reason}. "
                f"{self._kept()}"
            )

    def _kept(self, how: str = "") -> str:
        """Say what is there, and how to go on; in words that hold when more answers come."""
        path = self._engine.cache.path
        again = f"Run the same command again {how}".rstrip()
        return (
            f"Every answer that came is kept in {path}. {again}: only what is missing is asked for."
        )

    def _known(self, kept: Kept | None) -> Reply | Unanswered | None:
        if kept is None or kept.state == "failed":
            return None
        if kept.state == "answered":
            try:
                return Reply.of(kept.body)
            except ValueError:
                return None
        return None if self._engine.ask_refused_again else Unanswered(kept.reason, refused=True)

    def _tell(self) -> None:
        engine = self._engine
        if engine.tell is None:
            return
        unanswered = sum(isinstance(one, Unanswered) for one in self._found.values())
        engine.tell(
            Status(
                len(self._found),
                self._cached + len(self._waiting),
                self._cached,
                unanswered,
                engine.retries,
                engine.purse.prompt_tokens,
                engine.purse.completion_tokens,
                engine.purse.money,
            )
        )
