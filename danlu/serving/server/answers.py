"""From a client's request to the engine's, and the engine's pieces back to the event loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from danlu.errors import ModelError, TemplateError
from danlu.generation.engine import BusyError, Ticket
from danlu.generation.interface import Sampling
from danlu.generation.requests import Finish, Piece, Request, TokenScore
from danlu.sequences.encode import encode_prompt
from danlu.serving.server.faults import ApiError
from danlu.serving.server.forms import asked_form
from danlu.serving.server.protocol import ChatRequest, CompletionRequest
from danlu.serving.server.served import Served

SEEDS = 2**31


@dataclass(frozen=True)
class Asked:
    """What is asked of the engine for one client's request.

    Attributes:
        requests: One for each answer.
        prompt_tokens: Of all different prompts together.
    """

    requests: tuple[Request, ...]
    prompt_tokens: int


def asked_chat(request: ChatRequest, served: Served, longest: int) -> Asked:
    """Render a conversation as the model was trained, and ask for its answers.

    Raises:
        ApiError: If it cannot be rendered, or is too long.
    """
    template = served.generator.template
    tools = [tool.model_dump(exclude_none=True) for tool in request.tools or []]
    if request.tool_choice == "none":
        tools = []
    if tools and not template.probed.renders_tools:
        raise ApiError(
            f"the chat template of {served.name} shows no tool declarations, so the model would "
            "not see them: leave tools out, or serve a model whose template has them.",
            param="tools",
        )
    try:
        messages = [template.message(message.plain()) for message in request.messages]
        text = served.renderer.render(messages, tools or None, add_generation_prompt=True)
    except TemplateError as error:
        raise ApiError(
            f"the chat template of {served.name} cannot render this conversation: {error}",
            param="messages",
        ) from error
    prompt = encode_prompt(served.generator.tokenizer, text)
    form = asked_form(request, served)
    return _asked(
        request,
        served,
        [prompt],
        longest=longest,
        limit=request.limit,
        logprobs=request.logprobs,
        top=request.top_logprobs or 0,
        form=form,
    )


def asked_completion(request: CompletionRequest, served: Served, longest: int) -> Asked:
    """Ask for prompts to be gone on with as they stand.

    Raises:
        ApiError: If one is empty, too long, or has tokens that the model does not know.
    """
    size = len(served.generator.tokenizer)
    prompts = []
    for prompt in request.prompts:
        ids = prompt if isinstance(prompt, list) else None
        if ids is None:
            ids = encode_prompt(served.generator.tokenizer, str(prompt))
        if not ids:
            raise ApiError("a prompt is empty; there is nothing to go on with.", param="prompt")
        if not all(0 <= token_id < size for token_id in ids):
            raise ApiError(f"token ids must be from 0 to {size - 1}.", param="prompt")
        prompts.append(ids)
    return _asked(
        request,
        served,
        prompts,
        longest=longest,
        limit=request.max_tokens,
        logprobs=request.logprobs is not None,
        top=request.logprobs or 0,
    )


def _asked(
    request: ChatRequest | CompletionRequest,
    served: Served,
    prompts: Sequence[list[int]],
    *,
    longest: int,
    limit: int | None,
    logprobs: bool,
    top: int,
    form: str | None = None,
) -> Asked:
    own = served.sampling
    temperature = own.temperature if request.temperature is None else request.temperature
    seed = secrets.randbelow(SEEDS) if request.seed is None else request.seed % SEEDS
    requests = []
    for prompt in prompts:
        sampling = Sampling(
            max_new_tokens=_limit(served, prompt, limit, longest),
            greedy=temperature == 0,
            temperature=temperature or 1.0,
            top_p=own.top_p if request.top_p is None else request.top_p,
            logprobs=logprobs,
        )
        for number in range(request.n):
            requests.append(
                Request(
                    prompt=prompt,
                    sampling=replace(sampling, seed=seed + number),
                    on_piece=_nobody,
                    adapter=served.adapter,
                    stop=request.stops,
                    stop_ids=frozenset() if request.ignore_eos else served.generator.stop_ids,
                    top_logprobs=top,
                    bias=_bias(request, served),
                    presence=request.presence_penalty,
                    frequency=request.frequency_penalty,
                    constraint=None if form is None else served.grammars.begin(form),
                )
            )
    return Asked(tuple(requests), sum(len(prompt) for prompt in prompts))


def _limit(served: Served, prompt: Sequence[int], limit: int | None, longest: int) -> int:
    """Return the longest answer: as asked, as the server allows, as the context has room."""
    sampling = Sampling(max_new_tokens=min(limit or longest, longest))
    try:
        return served.generator.budget(prompt, sampling)
    except ModelError as error:
        raise ApiError(str(error), param="messages", code="context_length_exceeded") from error


def _bias(request: ChatRequest | CompletionRequest, served: Served) -> dict[int, float]:
    size = len(served.generator.tokenizer)
    for token_id in request.logit_bias or {}:
        if not 0 <= token_id < size:
            raise ApiError(
                f"token {token_id} does not exist; there are {size}.", param="logit_bias"
            )
    return request.logit_bias or {}


def _nobody(_: Piece) -> None:
    """Stand in until somebody listens."""


@dataclass
class Answer:
    """An answer that is being put together.

    Attributes:
        text: So far.
        tokens: So far.
        scores: Of its tokens, if asked for.
        finish: Why it ended; None while it has not.
    """

    text: str = ""
    tokens: int = 0
    scores: list[TokenScore] = field(default_factory=list)
    finish: Finish | None = None

    def add(self, piece: Piece) -> None:
        """Take the next piece.

        Raises:
            ApiError: If the answer failed.
        """
        self.text += piece.text
        self.tokens += piece.tokens
        self.scores += piece.scores
        self.finish = piece.finish
        if piece.finish == "error":
            raise ApiError(
                f"the answer could not be computed: {piece.error}. Ask again, or for less.",
                status=500,
                code="computation_failed",
            )
        if piece.finish == "cancelled":
            raise ApiError("the server is closing.", status=503, code="closing")


@asynccontextmanager
async def pieces(
    asked: Asked, served: Served, seconds: float
) -> AsyncIterator[AsyncIterator[tuple[int, Piece]]]:
    """Submit requests, and give their pieces in the order in which they come.

    Whatever ends the block (the last piece, an error, a client that left) ends the answers too.

    Args:
        asked: What is wanted.
        served: Of whom.
        seconds: How long all of it may take.

    Raises:
        ApiError: If too many requests wait, or the time is over.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
    tickets: list[Ticket] = []

    def listener(number: int) -> Any:
        def take(piece: Piece) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, (number, piece))

        return take

    async def each() -> AsyncIterator[tuple[int, Piece]]:
        open_answers, deadline = len(tickets), loop.time() + seconds
        while open_answers:
            try:
                async with asyncio.timeout_at(deadline):
                    number, piece = await queue.get()
            except TimeoutError as error:
                raise ApiError(
                    f"the answer took longer than {seconds:g} s, which is this server's limit: "
                    "ask for a shorter one.",
                    status=504,
                    code="timeout",
                ) from error
            open_answers -= piece.finish is not None
            yield number, piece

    try:
        for number, request in enumerate(asked.requests):
            listening = replace(request, on_piece=listener(number))
            try:
                tickets.append(served.engine.submit(listening))
            except BusyError as error:
                raise ApiError(str(error), status=429, code="busy") from error
        yield each()
    finally:
        for ticket in tickets:
            ticket.cancel()
