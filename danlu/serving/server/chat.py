"""``/v1/chat/completions`` and ``/v1/completions``: whole answers, and answers piece by piece."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from danlu.generation.requests import Piece, TokenScore
from danlu.serving.server.answers import Answer, Asked, pieces
from danlu.serving.server.calls import with_ids
from danlu.serving.server.faults import ApiError
from danlu.serving.server.protocol import ChatRequest, CompletionRequest
from danlu.serving.server.served import Served

Done = Callable[[str, list[Answer]], Awaitable[None]]
"""Called with an answer's id and all that was said, when it has ended well."""


async def whole(
    request: ChatRequest | CompletionRequest, served: Served, asked: Asked, seconds: float
) -> tuple[dict[str, Any], list[Answer]]:
    """Answer a request at once.

    Returns:
        The body of the response, and the answers.
    """
    answers = [Answer() for _ in asked.requests]
    async with pieces(asked, served, seconds) as coming:
        async for number, piece in coming:
            answers[number].add(piece)
    head = _head(request, served)
    if isinstance(request, ChatRequest):
        choices = [
            _chat_choice(request, served, head["id"], number, answer)
            for number, answer in enumerate(answers)
        ]
    else:
        choices = [
            {
                "index": number,
                "text": answer.text,
                "finish_reason": answer.finish,
                "logprobs": _old_logprobs(served, answer.scores)
                if request.logprobs is not None
                else None,
            }
            for number, answer in enumerate(answers)
        ]
    return {**head, "choices": choices, "usage": _usage(asked, answers)}, answers


async def streamed(
    request: ChatRequest | CompletionRequest,
    served: Served,
    asked: Asked,
    seconds: float,
    done: Done | None = None,
) -> AsyncIterator[bytes]:
    """Answer a request piece by piece, as server-sent events.

    An error after the first piece is an event of its own, because the status is long sent.
    """
    head = _head(request, served)
    if isinstance(request, ChatRequest):
        head["object"] = "chat.completion.chunk"
    writer: _ChatStream | _TextStream
    if isinstance(request, ChatRequest):
        writer = _ChatStream(request, served, head)
    else:
        writer = _TextStream(request, served)
    answers = [Answer() for _ in asked.requests]
    try:
        for number in range(len(answers)):
            for choice in writer.begin(number):
                yield _event({**head, "choices": [choice]})
        async with pieces(asked, served, seconds) as coming:
            async for number, piece in coming:
                answers[number].add(piece)
                for choice in writer.chunks(number, piece, answers[number]):
                    yield _event({**head, "choices": [choice]})
        if request.stream_options is not None and request.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(asked, answers)})
        if done is not None:
            await done(head["id"], answers)
        yield b"data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.body())


class _ChatStream:
    """Turns pieces into chunks; what may be a tool call is held back until it is read."""

    def __init__(self, request: ChatRequest, served: Served, head: dict[str, Any]) -> None:
        self._request, self._served, self._id = request, served, head["id"]
        self._form = served.calls if request.tools and request.tool_choice != "none" else None
        self._given: dict[int, int] = {}

    def begin(self, number: int) -> list[dict[str, Any]]:
        """Return what comes before an answer."""
        return [_delta(number, {"role": "assistant"}, None)]

    def chunks(self, number: int, piece: Piece, answer: Answer) -> list[dict[str, Any]]:
        """Return what is new of an answer."""
        scores = _logprobs(self._served, piece.scores) if self._request.logprobs else None
        if self._form is None:
            found = []
            if piece.text or scores:
                found.append(_delta(number, {"content": piece.text}, None, scores))
            if piece.finish:
                found.append(_delta(number, {}, piece.finish))
            return found
        return self._with_calls(number, piece, answer, scores)

    def _with_calls(
        self, number: int, piece: Piece, answer: Answer, scores: Any
    ) -> list[dict[str, Any]]:
        assert self._form is not None
        given = self._given.get(number, 0)
        if not piece.finish:
            safe = _before_call(answer.text, self._form.before)
            text = answer.text[given:safe]
            self._given[number] = max(given, safe)
            return [_delta(number, {"content": text}, None, scores)] if text or scores else []
        text, calls = self._form.read(answer.text)
        if not calls:
            rest = answer.text[given:]
            found = [_delta(number, {"content": rest}, None, scores)] if rest or scores else []
            return [*found, _delta(number, {}, piece.finish)]
        listed = [
            {"index": index, **call}
            for index, call in enumerate(with_ids(calls, f"{self._id}_{number}"))
        ]
        return [
            _delta(number, {"tool_calls": listed}, None, scores),
            _delta(number, {}, "tool_calls"),
        ]


class _TextStream:
    """Turns pieces into chunks of the older completions."""

    def __init__(self, request: CompletionRequest, served: Served) -> None:
        self._request, self._served = request, served

    def begin(self, _: int) -> list[dict[str, Any]]:
        """Return nothing: an answer begins with its first piece."""
        return []

    def chunks(self, number: int, piece: Piece, _: Answer) -> list[dict[str, Any]]:
        """Return what is new of an answer."""
        if not (piece.text or piece.finish or piece.scores):
            return []
        wants = self._request.logprobs is not None
        return [
            {
                "index": number,
                "text": piece.text,
                "finish_reason": piece.finish,
                "logprobs": _old_logprobs(self._served, piece.scores) if wants else None,
            }
        ]


def _before_call(text: str, mark: str) -> int:
    """Return up to where a text is certainly no part of a call that begins with a mark."""
    if not mark:
        return 0 if text.lstrip()[:1] in ("", "{") else len(text)
    found = text.find(mark)
    if found >= 0:
        return len(text[:found].rstrip())
    held = max((n for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
    return len(text[: len(text) - held].rstrip())


def _chat_choice(
    request: ChatRequest, served: Served, answer_id: str, number: int, answer: Answer
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    finish: str | None = answer.finish
    if request.tools and request.tool_choice != "none" and served.calls is not None:
        text, calls = served.calls.read(answer.text)
        if calls:
            listed = with_ids(calls, f"{answer_id}_{number}")
            message = {"role": "assistant", "content": text or None, "tool_calls": listed}
            finish = "tool_calls"
    return {
        "index": number,
        "message": message,
        "finish_reason": finish,
        "logprobs": _logprobs(served, answer.scores) if request.logprobs else None,
    }


def _head(request: ChatRequest | CompletionRequest, served: Served) -> dict[str, Any]:
    chat = isinstance(request, ChatRequest)
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": served.name,
    }


def _usage(asked: Asked, answers: Sequence[Answer]) -> dict[str, int]:
    drawn = sum(answer.tokens for answer in answers)
    return {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": drawn,
        "total_tokens": asked.prompt_tokens + drawn,
    }


def _delta(
    number: int, delta: dict[str, Any], finish: str | None, scores: Any = None
) -> dict[str, Any]:
    return {"index": number, "delta": delta, "finish_reason": finish, "logprobs": scores}


def _event(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def _logprobs(served: Served, scores: Sequence[TokenScore]) -> dict[str, Any] | None:
    """Return scores as chat completions have them."""
    if not scores:
        return None
    return {
        "content": [
            {
                **_token(served, score.token_id, score.logprob),
                "top_logprobs": [_token(served, token, value) for token, value in score.top],
            }
            for score in scores
        ]
    }


def _token(served: Served, token_id: int, logprob: float) -> dict[str, Any]:
    text = str(served.generator.tokenizer.decode([token_id]))
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _old_logprobs(served: Served, scores: Sequence[TokenScore]) -> dict[str, Any]:
    """Return scores as the older completions have them."""
    decode = served.generator.tokenizer.decode
    return {
        "tokens": [decode([score.token_id]) for score in scores],
        "token_logprobs": [score.logprob for score in scores],
        "top_logprobs": [{decode([token]): value for token, value in s.top} for s in scores],
        "text_offset": [],
    }
