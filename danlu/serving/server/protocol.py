"""What clients send, as OpenAI's API has it; a field that would change the answer is never ignored.

Fields that only matter to OpenAI's own service (``store``, ``metadata``, ``service_tier`` …) are
passed over.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from danlu.errors import DanluError, did_you_mean

Temperature = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(gt=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Stop = Annotated[str, Field(max_length=256)]
MOST_STOPS = 16
MOST_CHOICES = 128
MOST_TOP_LOGPROBS = 20
MOST_INPUTS = 2048

Pooling = Literal["mean", "last", "first"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


def checked_pooling(name: str) -> Pooling:
    """Return a pooling of hidden states by its name.

    Raises:
        DanluError: If there is none of this name.
    """
    for one in POOLINGS:
        if name == one:
            return one
    raise DanluError(
        f"there is no pooling {name!r}; there are {', '.join(POOLINGS)}."
        f"{did_you_mean(name, POOLINGS)}",
        where="--pooling",
    )


def must_be_whole(value: Any) -> Any:
    """Check that no text in a request has half of a character, which JSON can write.

    Raises:
        ValueError: If one has: no tokenizer and no file takes it.
    """
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            if not one.isascii() and any("\ud800" <= character <= "\udfff" for character in one):
                raise ValueError("a text has half of a character (a lone surrogate)")
        elif isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one
    return value


class _Request(BaseModel):
    """What all requests have in common."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    model: str
    user: str | None = None

    _whole = model_validator(mode="before")(must_be_whole)


class StreamOptions(BaseModel):
    """How a streamed answer is sent.

    Attributes:
        include_usage: Send a last event with the token counts.
    """

    include_usage: bool = False


class _Sampled(_Request):
    """Requests for answers of a model."""

    temperature: Temperature | None = None
    top_p: Share | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: int | None = None
    ignore_eos: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop texts."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)


class FunctionCall(BaseModel):
    """Which function a message calls."""

    model_config = ConfigDict(extra="allow")

    name: str
    arguments: str


class ToolCall(BaseModel):
    """One call in a message."""

    model_config = ConfigDict(extra="allow")

    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCall


class TextPart(BaseModel):
    """A piece of a message that is text."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message of a conversation.

    Attributes:
        role: Any that the chat template can render.
        content: Text, or text in parts.
    """

    model_config = ConfigDict(extra="allow")

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: str | list[TextPart] | None = None
    tool_calls: list[ToolCall] | None = None

    def plain(self) -> dict[str, Any]:
        """Return the message as templates read it."""
        message = self.model_dump(exclude_none=True)
        if isinstance(self.content, list):
            message["content"] = "".join(part.text for part in self.content)
        message.setdefault("content", None)
        if message["role"] == "developer":  # OpenAI's newer name
            message["role"] = "system"
        return message


class Function(BaseModel):
    """A function that may be called."""

    model_config = ConfigDict(extra="allow")

    name: str


class Tool(BaseModel):
    """A tool declaration."""

    model_config = ConfigDict(extra="allow")

    type: Literal["function"] = "function"
    function: Function


class ResponseFormat(BaseModel):
    """What form an answer shall have.

    Attributes:
        type: ``text``, ``json_object`` or ``json_schema``.
        json_schema: With the schema under ``schema``, of the last kind.
    """

    type: str
    json_schema: dict[str, Any] | None = None


class ChatRequest(_Sampled):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _what_cannot_be_promised(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.ignore_eos and self.held_to_form:
            raise ValueError("ignore_eos would go on behind the form that is asked for")
        return self

    @property
    def limit(self) -> int | None:
        """The longest answer asked for, in tokens."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def held_to_form(self) -> bool:
        """Whether the answer has to have a form."""
        free = self.response_format is None or self.response_format.type == "text"
        return not free or self.tool_choice not in (None, "auto", "none")


class CompletionRequest(_Sampled):
    """``POST /v1/completions``: the prompt goes on as it stands, without a chat template."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    echo: bool = False
    suffix: str | None = None
    best_of: int | None = None

    @model_validator(mode="after")
    def _what_cannot_be_done(self) -> CompletionRequest:
        if self.echo or self.suffix:
            raise ValueError("echo and suffix are not supported: leave them out")
        if self.best_of is not None and self.best_of != self.n:
            raise ValueError("best_of is not supported: leave it out, or set it to n")
        if self.prompt == []:
            raise ValueError("the prompt is empty")
        return self

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, each a text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt


class EmbeddingRequest(_Request):
    """``POST /v1/embeddings``."""

    input: (
        str
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1, max_length=MOST_INPUTS)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=MOST_INPUTS)]
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None

    @property
    def inputs(self) -> list[str] | list[list[int]]:
        """The texts, each a text or token ids."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]
        return self.input


class FeedbackRequest(BaseModel):
    """``POST /v1/feedback``: what somebody says of an answer.

    Attributes:
        id: Of the answer, as its response had it.
        up: Thumbs up or down.
        text: What was said.
        corrected: The answer as it should have been.
        voter: A pseudonym, the same for the same person.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=128)]
    up: bool | None = None
    text: Annotated[str, Field(max_length=20_000)] = ""
    corrected: Annotated[str, Field(max_length=100_000)] = ""
    voter: Annotated[str, Field(max_length=128)] = ""

    _whole = model_validator(mode="before")(must_be_whole)

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackRequest:
        if self.up is None and not self.text and not self.corrected:
            raise ValueError("give at least one of up, text and corrected")
        return self
