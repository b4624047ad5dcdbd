"""What a chat template does, found by rendering probes: where answers stop, what it can show.

Nothing is looked up by model name. A conversation with a marked answer is rendered, and the
special token right after the answer is the one at which generation stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from danlu.errors import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Conversation = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None
Renderer = Callable[[Conversation, Tools, bool], str]
"""messages, tools, add_generation_prompt -> text; raises TemplateError."""

QUESTION = "danluquestion"
ANSWER = "danluanswer"
TOOL = "danlutool"
ARGUMENT = "danluargument"
VALUE = "danluvalue"
CALL_ID = "danlu0001"  # nine letters and digits: some templates insist on that


@dataclass(frozen=True, slots=True)
class Probed:
    r"""What the probes found out about a template.

    Attributes:
        answer_stop: Special token written right after an answer; None if none is.
        call_stop: Special token that ends a tool call; None if none does, or no calls are shown.
        tails: What follows the stop token in a rendering, as in ``"\n"``.
        example: The rendering of a question and its answer.
        renders_tools: Whether tool declarations appear in the text.
        renders_calls: Whether tool calls appear in the text.
        arguments: How tool-call arguments must be given: as they are, as an object, as JSON text.
        content_required: Whether a tool call without content must carry an empty string.
    """

    answer_stop: str | None
    call_stop: str | None
    tails: frozenset[str]
    example: str
    renders_tools: bool = False
    renders_calls: bool = False
    arguments: Literal["as given", "object", "text"] = "as given"
    content_required: bool = False

    @property
    def stop_tokens(self) -> tuple[str, ...]:
        """The stop tokens the template writes, the one after answers first."""
        found = (self.answer_stop, self.call_stop)
        return tuple(dict.fromkeys(token for token in found if token is not None))


def probe(render: Renderer, tokenizer: PreTrainedTokenizerBase) -> Probed:
    """Find out what a template does by rendering marked conversations.

    Raises:
        TemplateError: If it cannot render a question and its answer, or loses the answer.
    """
    example = _answer_example(render)
    tail = example[example.rindex(ANSWER) + len(ANSWER) :]
    answer_stop, rest = _first_token(tail, tokenizer)
    tails = {rest} if answer_stop else {tail}
    for form in _call_forms():
        text = _rendered_call(render, form)
        if text is None:
            continue
        call_stop, call_rest = _last_token(text[text.rindex(VALUE) :], tokenizer)
        return Probed(
            answer_stop=answer_stop,
            call_stop=call_stop,
            tails=frozenset(tails | {call_rest} if call_stop else tails),
            example=example,
            renders_tools=_renders_tools(render),
            renders_calls=True,
            arguments=_accepted_arguments(render, form),
            content_required=form.content == "",
        )
    return Probed(
        answer_stop, None, frozenset(tails), example, renders_tools=_renders_tools(render)
    )


def role_is_rendered(render: Renderer, messages: Conversation, index: int, tools: Tools) -> bool:
    """Whether the template shows message ``index`` at all, whatever it does to the text.

    The message's content is replaced by a mark; a template that then shows no mark leaves
    messages of this role, or at this place, out. One that raises has looked at the content.
    """
    marked = [dict(message) for message in messages]
    marked[index]["content"] = QUESTION
    try:
        return QUESTION in render(marked, tools, False)
    except TemplateError:
        return True


def special_tokens(tokenizer: PreTrainedTokenizerBase, *, also_plain: bool = False) -> list[str]:
    """Tokens that the tokenizer takes whole from text, longest first.

    Args:
        tokenizer: Any transformers tokenizer.
        also_plain: Include added tokens that are not marked special, as ``</think>`` is not.
    """
    tokens = {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if also_plain or token.special
    }
    if isinstance(tokenizer.eos_token, str):
        tokens.add(tokenizer.eos_token)
    return sorted(tokens, key=lambda token: (-len(token), token))


def _answer_example(render: Renderer) -> str:
    """Render a question and its marked answer, after a system message where one is demanded."""
    question = {"role": "user", "content": QUESTION}
    answer = {"role": "assistant", "content": ANSWER}
    fault: TemplateError | None = None
    for opening in ([], [{"role": "system", "content": QUESTION}]):
        try:
            text = render([*opening, question, answer], None, False)
        except TemplateError as raised:
            fault = fault or raised
            continue
        if ANSWER in text:
            return text
    if fault is not None:
        raise TemplateError(
            "The chat template cannot render a question and its answer, so nothing can be trained "
            f"with it. {fault.message} Choose another with model.template."
        ) from fault
    raise TemplateError(
        "The chat template leaves the assistant's answers out of what it renders, so nothing can "
        "be trained with it. Choose another with model.template."
    )


def _first_token(tail: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str | None, str]:
    """Return the special token right after an answer (white space may come between), and the rest.

    Any added token counts here: some tokenizers leave their end token unmarked, and nothing of an
    answer is left to come.
    """
    trimmed = tail.lstrip()
    for token in special_tokens(tokenizer, also_plain=True):
        if trimmed.startswith(token):
            return token, trimmed[len(token) :]
    return None, tail


def _last_token(tail: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str | None, str]:
    """Return the special token that ends a tool call, and the white space after it.

    The markup that closes the call comes before it, and may itself be made of special tokens.
    """
    pattern = "|".join(map(re.escape, special_tokens(tokenizer)))
    found = list(re.finditer(pattern, tail)) if pattern else []
    if found and not tail[found[-1].end() :].strip():
        return found[-1].group(), tail[found[-1].end() :]
    return None, tail


@dataclass(frozen=True, slots=True)
class _CallForm:
    """One way of writing a tool call into a message."""

    arguments: Mapping[str, str] | str
    content: str | None

    def message(self) -> dict[str, Any]:
        function = {"name": TOOL, "arguments": self.arguments}
        call = {"id": CALL_ID, "type": "function", "function": function}
        content = {} if self.content is None else {"content": self.content}
        return {"role": "assistant", **content, "tool_calls": [call]}


_OBJECT: Mapping[str, str] = {ARGUMENT: VALUE}
_TEXT = f'{{"{ARGUMENT}": "{VALUE}"}}'


def _call_forms() -> Iterator[_CallForm]:
    for content in (None, ""):
        for arguments in (_OBJECT, _TEXT):
            yield _CallForm(arguments, content)


def _rendered_call(render: Renderer, form: _CallForm) -> str | None:
    """Return the rendering of a tool call, or None if it fails or is not what was called."""
    try:
        text = render([{"role": "user", "content": QUESTION}, form.message()], _DECLARED, False)
    except TemplateError:
        return None
    call = text[text.rfind(QUESTION) :]
    if TOOL not in call or VALUE not in call:
        return None
    # JSON text encoded once more, a Python object's repr, a missing content spelt out.
    if f'\\"{ARGUMENT}' in call or f"{{'{ARGUMENT}'" in call or "None" in call:
        return None
    return text


def _accepted_arguments(
    render: Renderer, accepted: _CallForm
) -> Literal["as given", "object", "text"]:
    other = _TEXT if accepted.arguments is _OBJECT else _OBJECT
    if _rendered_call(render, _CallForm(other, accepted.content)) is not None:
        return "as given"
    return "object" if accepted.arguments is _OBJECT else "text"


_DECLARED = (
    {
        "type": "function",
        "function": {
            "name": TOOL,
            "description": "A probe.",
            "parameters": {
                "type": "object",
                "properties": {ARGUMENT: {"type": "string", "description": "A probe."}},
                "required": [ARGUMENT],
            },
        },
    },
)


def _renders_tools(render: Renderer) -> bool:
    question = {"role": "user", "content": QUESTION}
    for opening in ([], [{"role": "system", "content": QUESTION}]):
        try:
            if TOOL in render([*opening, question], _DECLARED, True):
                return True
        except TemplateError:
            continue
    return False
