"""The chat template: the one place where a conversation becomes text, for training and for asking.

Training, generation and ``danlu explain`` all call ``ChatTemplate.render``, so what is trained is
to the character what will be asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from danlu.errors import TemplateError, did_you_mean
from danlu.sequences.environment import compile_template, render_compiled
from danlu.sequences.shipped import SHIPPED, adds_bos, shipped_source
from danlu.sequences.stop import Probed, Renderer, probe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REASONING_NAMES = ("reasoning_content", "thinking", "reasoning")
"""Names under which data carry an answer's reasoning; templates read the first (or the second)."""


@dataclass(frozen=True, eq=False)
class ChatTemplate:
    """A compiled chat template, and what probing it has found out.

    Attributes:
        source: The Jinja text, with the options and all that depends on the tokenizer written in:
            saved with a model it renders the same without Danlu.
        name: ``tokenizer``, a shipped name, or the file it came from.
        stop_tokens: At which generation stops, the one after plain answers first.
        stop_ids: Their token ids.
        stop_is_written: False where the template ends answers with nothing, so that the
            tokenizer's EOS token is appended to completions.
        probed: What the template can show.
        notes: What a user should know about this template and tokenizer; empty if all is plain.
        variables: What it is given beside the conversation: special tokens by name, options.
    """

    source: str
    name: str
    stop_tokens: tuple[str, ...]
    stop_ids: tuple[int, ...]
    stop_is_written: bool
    probed: Probed
    notes: tuple[str, ...]
    variables: Mapping[str, Any]
    _render: Renderer

    @classmethod
    def load(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        template: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Find, compile and probe a chat template.

        Args:
            tokenizer: Whose special tokens the template writes.
            template: A shipped name, a ``.jinja`` file, or None for the tokenizer's own.
            options: Variables for the template, such as ``{"enable_thinking": False}``.

        Raises:
            TemplateError: If there is no such template, it is not valid Jinja, it cannot render a
                question and its answer, or there is no token to stop at.
        """
        name, text, notes = _find(tokenizer, template)
        source = _with_options(text, options or {}, tokenizer.special_tokens_map)
        variables = {**tokenizer.special_tokens_map, **(options or {})}
        render: Renderer = partial(render_compiled, compile_template(source), variables)
        probed = probe(render, tokenizer)
        stop_tokens, stop_notes = _stop_tokens(probed, tokenizer)
        stop_ids = tokenizer.convert_tokens_to_ids(list(stop_tokens))
        return cls(
            source=source,
            name=name,
            stop_tokens=stop_tokens,
            stop_ids=tuple(stop_ids if isinstance(stop_ids, list) else [stop_ids]),
            stop_is_written=probed.answer_stop is not None,
            probed=probed,
            notes=(*notes, *stop_notes, *_notes(source, probed, tokenizer)),
            variables=variables,
            _render=render,
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """Render messages as ``apply_chat_template(tokenize=False)`` renders them.

        Args:
            messages: Each with ``role``, ``content`` and what else the template reads.
            tools: Tool declarations in the OpenAI schema; none if None or empty.
            add_generation_prompt: End with the header of the assistant's turn.

        Raises:
            TemplateError: If the template raises; with its own message.
        """
        plain = [self.message(message) for message in messages]
        return self._render(plain, list(tools) if tools else None, add_generation_prompt)

    def render_plain(
        self, messages: Sequence[Mapping[str, Any]], tools: Any, add_generation_prompt: bool
    ) -> str:
        """Render messages that have been through ``message`` already; tools is a list or None."""
        return self._render(messages, tools, add_generation_prompt)

    def message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message as templates expect it.

        Fields that are None are left out and reasoning is given under the names in use, as
        transformers does; tool calls get the form that this template renders right.
        """
        plain = {name: value for name, value in message.items() if value is not None}
        if len(plain) != 2 or "content" not in plain:
            for name in REASONING_NAMES:
                if name in plain:
                    plain = {"thinking": plain[name], **plain, "reasoning_content": plain[name]}
                    break
            if plain.get("tool_calls"):
                if self.probed.arguments != "as given":
                    plain["tool_calls"] = [self._tool_call(call) for call in plain["tool_calls"]]
                if self.probed.content_required:
                    plain.setdefault("content", "")
        return plain

    def _tool_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = dict(call.get("function", call))
        given = function.get("arguments")
        if self.probed.arguments == "object" and isinstance(given, str):
            try:
                function["arguments"] = json.loads(given)
            except json.JSONDecodeError as fault:
                raise TemplateError(
                    "This chat template needs a tool call's arguments as a JSON object; they are "
                    f"{given!r}, which is not JSON ({fault}). Mend the record."
                ) from fault
        elif self.probed.arguments == "text" and not isinstance(given, str):
            function["arguments"] = json.dumps(given, ensure_ascii=False)
        return {**call, "function": function} if "function" in call else function


def _find(
    tokenizer: PreTrainedTokenizerBase, template: str | None
) -> tuple[str, str, tuple[str, ...]]:
    """Return a template's name, its Jinja text, and notes."""
    if template is None:
        return _tokenizers_own(tokenizer)
    if template in (names := [shipped.name for shipped in SHIPPED]):
        text, notes = shipped_source(template, tokenizer)
        return template, text, notes
    path = Path(template)
    if path.is_file():
        return template, path.read_text("utf-8"), ()
    if path.suffix in (".jinja", ".jinja2", ".j2") or "/" in template:
        raise TemplateError(f"There is no file {template}.", where="model.template")
    raise TemplateError(
        f"There is no chat template {template!r}.{did_you_mean(template, names)} A path to a "
        ".jinja file will do as well.",
        where="model.template",
    )


def _tokenizers_own(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, tuple[str, ...]]:
    own = tokenizer.chat_template
    names = ", ".join(shipped.name for shipped in SHIPPED)
    if not own:
        raise TemplateError(
            "The tokenizer has no chat template (base models often have none). Choose a shipped "
            f"one ({names}) or a .jinja file.",
            where="model.template",
        )
    if isinstance(own, str):
        return "tokenizer", own, ()
    if "default" not in own:
        raise TemplateError(
            f"The tokenizer has several chat templates ({', '.join(sorted(own))}) and none is "
            "called default. Write the one you mean to a .jinja file and name that.",
            where="model.template",
        )
    others = ", ".join(sorted(set(own) - {"default"}))
    note = f"The tokenizer's template 'default' is used; it has others: {others}."
    return "tokenizer", own["default"], (note,) if others else ()


def _with_options(text: str, options: Mapping[str, Any], given: Mapping[str, str]) -> str:
    """Write options in front of a template, as defaults that a caller's variables override.

    Special tokens are given in any case, so an option of such a name is set in any case.

    The line ends in a block, so ``trim_blocks`` removes its newline and the text begins at the
    start of a line, as it did alone.
    """
    for name in options:
        if not name.isidentifier():
            raise TemplateError(
                f"{name!r} cannot be the name of a template variable.",
                where="model.template_options",
            )
    head = ""
    for name, value in options.items():
        block = f"{{% set {name} = {_literal(name, value)} %}}"
        head += block if name in given else f"{{% if {name} is not defined %}}{block}{{% endif %}}"
    return f"{head}\n{text}" if head else text


def _literal(name: str, value: Any) -> str:
    """Write a plain value as Jinja does."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, (int, float, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_literal(name, item) for item in value)}]"
    if isinstance(value, Mapping):
        items = (f"{_literal(name, key)}: {_literal(name, item)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    raise TemplateError(
        f"The value {value!r} cannot be handed to a chat template; allowed are texts, numbers, "
        "true, false, null, lists and mappings. Put a date in quotes.",
        where=f"model.template_options.{name}",
    )


def _stop_tokens(
    probed: Probed, tokenizer: PreTrainedTokenizerBase
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tokens to stop at, and a note where one has to be appended.

    Raises:
        TemplateError: If neither template nor tokenizer has one.
    """
    written = probed.stop_tokens
    if probed.answer_stop is not None:
        if not probed.renders_calls or probed.call_stop is not None:
            return written, ()
        note = "The chat template writes no token after tool calls"
        return written, (f"{note}: {written[0]} is appended to them and trained.",)
    if tokenizer.eos_token is None:
        raise TemplateError(
            "The chat template writes no token after answers and the tokenizer has no "
            "end-of-sequence token, so generation could not stop. Set eos_token in "
            "tokenizer_config.json.",
            where="model.template",
        )
    end = str(tokenizer.eos_token)
    note = (
        "The chat template writes no token after answers: the tokenizer's end-of-sequence token "
        f"{end} is appended to completions and trained."
    )
    return tuple(dict.fromkeys((end, *written))), (note,)


def _notes(source: str, probed: Probed, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Say what may surprise: a date in the text, a BOS token that chats do not get."""
    notes = []
    if "strftime_now" in source:
        remedy = " Fix it with model.template_options.date_string." * ("date_string" in source)
        notes.append(
            f"The chat template writes today's date: tokens differ from day to day.{remedy}"
        )
    if adds_bos(tokenizer) and not probed.example.startswith(str(tokenizer.bos_token)):
        notes.append(
            f"The tokenizer begins plain text with {tokenizer.bos_token}, the chat template does "
            "not: conversations are trained and asked without it, as chat engines do."
        )
    return tuple(notes)
