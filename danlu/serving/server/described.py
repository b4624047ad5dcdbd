"""What the server answers, described for its OpenAPI page (``/docs``, ``/openapi.json``).

Answers are not made of these, which would cost time for each token; a test holds what is answered
to what is described.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from danlu.serving.server.protocol import Pooling


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Fault(_Described):
    """What is wrong.

    Attributes:
        message: With the remedy.
        type: The kind of error.
        param: Which field of the request is meant.
        code: A short name for programs.
    """

    message: str
    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "rate_limit_error",
        "server_error",
    ]
    param: str | None
    code: str | None


class Faulty(_Described):
    """Every error."""

    error: Fault


class Health(_Described):
    """Whether requests are taken."""

    status: str
    models: list[str]


class About(_Described):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["danlu"]
    max_model_len: int | None
    data_version: str | None


class Models(_Described):
    """The models that are served."""

    object: Literal["list"]
    data: list[About]


class Usage(_Described):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Token(_Described):
    """A token and how likely it was."""

    token: str
    logprob: float
    bytes: list[int]


class ScoredToken(Token):
    """A token that was drawn, and the likeliest ones."""

    top_logprobs: list[Token]


class Logprobs(_Described):
    """Of an answer's tokens."""

    content: list[ScoredToken]


class CalledFunction(_Described):
    """What is called, with arguments as JSON text."""

    name: str
    arguments: str


class Call(_Described):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class Said(_Described):
    """The message of an answer."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[Call] = []


class Choice(_Described):
    """One answer."""

    index: int
    message: Said
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: Logprobs | None


class Chat(_Described):
    """Answers to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class OldLogprobs(_Described):
    """Of a completion's tokens."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(_Described):
    """One way in which a text goes on."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: OldLogprobs | None


class Completion(_Described):
    """How texts go on."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class Vector(_Described):
    """Of one text; base64 of little-endian float32 where that is asked for."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class ReadTokens(_Described):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class Vectors(_Described):
    """Of texts."""

    object: Literal["list"]
    model: str
    pooling: Pooling
    data: list[Vector]
    usage: ReadTokens


class Kept(_Described):
    """What was said of an answer is kept."""

    object: Literal["feedback"]
    id: str
    kept: Literal[True]


EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
EVENTS = {"text/event-stream": {"schema": EVENT}}
"""Chunks of an answer, each ``data: {...}``, and last ``data: [DONE]``."""

Responses = dict[int | str, dict[str, Any]]


def answered(model: type[BaseModel], *, streams: bool = False) -> Responses:
    """Return what FastAPI is told of a route that answers in this form, or with an error."""
    good: dict[str, Any] = {"model": model, "description": model.__doc__}
    if streams:
        good["content"] = EVENTS
    return {200: good, **FAULTS}


FAULTS: Responses = {
    "4XX": {"model": Faulty, "description": "The request cannot be answered as it is."},
    "5XX": {"model": Faulty, "description": "The answer failed."},
}

HEALTH: Responses = {
    200: {"model": Health, "description": "Requests are taken."},
    503: {"model": Health, "description": "The server closes, or an engine has ended."},
    "4XX": FAULTS["4XX"],
}

NUMBERS: Responses = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Numbers."},
    **FAULTS,
}
