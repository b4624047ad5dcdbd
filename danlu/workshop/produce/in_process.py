"""A model in this process, asked like an endpoint: requests that wait together share a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

from danlu.errors import ModelError, TemplateError
from danlu.generation.interface import Completion, Conversation, Sampling
from danlu.workshop.produce.faults import RefusedError
from danlu.workshop.produce.request import Request, completion_body

GATHERING_S = 0.01
"""How long the first request of a batch waits for others."""


class BatchGenerator(Protocol):
    """What ``danlu.generation.local.TransformersGenerator`` offers, as far as it is needed here.

    Attributes:
        batch_rows: Answers computed at a time.
    """

    batch_rows: int

    def encode(self, conversation: Conversation) -> list[int]:
        """Return a conversation's prompt as token ids."""

    def generate_ids(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seeds: Sequence[int] | None = None,
    ) -> list[Completion]:
        """Return one completion for each prompt, each drawn with its own seed."""


class InProcess:
    """A Danlu model behind the engine's interface.

    Each answer depends on its own prompt and seed only, whichever requests share its batch.

    Args:
        generator: What answers.
        name: What the cache knows it by; must change when the weights do.
    """

    def __init__(self, generator: BatchGenerator, name: str) -> None:
        self.generator = generator
        self.name = name
        self.concurrency = generator.batch_rows
        self._waiting: list[tuple[Request, asyncio.Future[dict[str, Any]]]] = []
        self._worker: asyncio.Task[None] | None = None

    @classmethod
    def load(cls, run_or_model: str, **options: Any) -> InProcess:
        """Load a model, or what a run has made.

        Args:
            run_or_model: A run directory, a folder, a GGUF file, a hub id or ``builtin:NAME``.
            options: As those of ``danlu.generation.load.load_generator``.

        Raises:
            ModelError: If it is not there or cannot be read.
        """
        from danlu.generation.load import fingerprint, load_generator

        generator = load_generator(run_or_model, **options)
        return cls(generator, f"{run_or_model}#{fingerprint(generator)}")

    def parameters(self, sampling: Sampling, seed: int) -> dict[str, Any]:
        """Return what shapes an answer; of a greedy one, only its longest length."""
        if sampling.greedy:
            return {"greedy": True, "max_new_tokens": sampling.max_new_tokens}
        values = asdict(sampling) | {"seed": seed}
        return {name: values[name] for name in ("max_new_tokens", "temperature", "top_p", "seed")}

    async def respond(self, request: Request) -> dict[str, Any]:
        """Answer in the next batch.

        Raises:
            RefusedError: If the prompt cannot be rendered, or is longer than the model's context.
        """
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def close(self) -> None:
        """Stop what is under way, if anything is."""
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None

    async def _work(self) -> None:
        """Answer what waits, one sampling at a time, until nothing does."""
        await asyncio.sleep(GATHERING_S)
        while self._waiting:
            alike = replace(self._waiting[0][0].sampling, seed=0)
            batch = [one for one in self._waiting if replace(one[0].sampling, seed=0) == alike]
            self._waiting = [one for one in self._waiting if one not in batch]
            requests = [request for request, _ in batch]
            gathered = await asyncio.gather(
                asyncio.to_thread(self._answer, requests, alike), return_exceptions=True
            )
            outcomes = gathered[0]
            if isinstance(outcomes, BaseException):  # raised where the answers are waited for
                for _, future in batch:
                    if not future.done():
                        future.set_exception(outcomes)
                continue
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if future.done():
                    continue
                if isinstance(outcome, RefusedError):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    def _answer(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[dict[str, Any] | RefusedError]:
        outcomes: list[dict[str, Any] | RefusedError | None] = [None] * len(requests)
        prompts: dict[int, list[int]] = {}
        for place, request in enumerate(requests):
            try:
                prompts[place] = self.generator.encode(request.messages)
                self._check_room(prompts[place])
            except (ModelError, TemplateError) as error:
                prompts.pop(place, None)
                outcomes[place] = RefusedError(str(error))
        if prompts:
            seeds = [requests[place].seed for place in prompts]
            completions = self.generator.generate_ids(list(prompts.values()), sampling, seeds=seeds)
            for (place, prompt), one in zip(prompts.items(), completions, strict=True):
                outcomes[place] = completion_body(
                    one.text,
                    finished=one.finished,
                    prompt_tokens=len(prompt),
                    completion_tokens=len(one.token_ids),
                )
        return [outcome for outcome in outcomes if outcome is not None]

    def _check_room(self, prompt: Sequence[int]) -> None:
        """Refuse a prompt that fills the context, before it fails the whole batch.

        Raises:
            ModelError: If there is no room for an answer.
        """
        limit = getattr(self.generator, "context_tokens", None)
        if limit is not None and len(prompt) >= limit:
            raise ModelError(f"the prompt has {len(prompt)} tokens, and the context is {limit}.")
