"""The Jinja sandbox that chat templates run in, with the settings of transformers.

Source: transformers 5.23, ``utils/chat_template_utils.py``: the same filters, functions, tags and
whitespace rules, so that a template renders here to the character as ``apply_chat_template``
renders it (tests compare them).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.sandbox
import jinja2.utils

from danlu.errors import TemplateError

TEMPLATE_FAULTS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What code in a template can raise; all of it is the template's or its input's fault."""


class _GenerationTag(jinja2.ext.Extension):
    """``{% generation %}`` marks answers for trainers with masks; here it renders its body."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's interface)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        # A call block, as in transformers: its body has a scope of its own.
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """``dict(...)`` in a template, without the class and its attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(jinja2.utils.Namespace):
    """``namespace(...)`` that refuses private names, by which a template could reach Python."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a template may not set the attribute {name!r}")
        super().__setitem__(name, value)


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The sandbox, with a short way to what templates ask for all the time.

    Fields of messages, values of loops, variables in namespaces and harmless string methods are
    handed over at once; everything else goes through the sandbox's checks. Those take longer than
    all the rest of rendering a conversation, and let these through in any case.
    """

    def getattr(self, obj: Any, attribute: str) -> Any:
        kind = type(obj)
        if kind is dict:
            if attribute in obj and attribute not in _DICT_ATTRIBUTES:
                return obj[attribute]
        elif kind is str:
            if attribute in _STR_METHODS:
                return getattr(obj, attribute)
        elif kind is jinja2.runtime.LoopContext:
            if attribute in _LOOP_VALUES:
                return getattr(obj, attribute)
        elif kind is _Namespace and not attribute.startswith("_"):
            value = getattr(obj, attribute, _MISSING)
            if value is not _MISSING:
                return value
        return super().getattr(obj, attribute)


_MISSING = object()
_DICT_ATTRIBUTES = frozenset(dir(dict))
_STR_METHODS = frozenset({"startswith", "endswith", "split", "strip", "lstrip", "rstrip"})
_LOOP_VALUES = frozenset({"first", "last", "index", "index0", "revindex", "revindex0", "length"})


def _namespace(*args: Any, **kwargs: Any) -> _Namespace:
    space = _Namespace()
    for name, value in dict(*args, **kwargs).items():
        space[name] = value
    return space


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML characters, which no chat template means.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


@functools.cache
def _environment() -> _Sandbox:
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _namespace
    return environment


@functools.lru_cache(maxsize=32)
def compile_template(source: str) -> jinja2.Template:
    """Compile Jinja text, once for each text.

    Raises:
        TemplateError: If it is not valid Jinja; names the line.

    Example:
        >>> compile_template("{{ messages | length }}").render(messages=[1, 2])
        '2'
    """
    try:
        compiled = _environment().from_string(source)
    except jinja2.TemplateSyntaxError as fault:
        raise TemplateError(
            f"The chat template is not valid Jinja: {fault.message}. Mend that line, or choose "
            "another template with model.template.",
            where=f"chat template, line {fault.lineno}",
        ) from fault
    # A chain of dictionaries by default, which every rendering would copy key by key.
    compiled.globals = dict(compiled.globals)
    return compiled


def render_compiled(
    compiled: jinja2.Template,
    variables: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    add_generation_prompt: bool,
) -> str:
    """Render a conversation.

    Args:
        compiled: From ``compile_template``.
        variables: The tokenizer's special tokens by name, and the user's template options.
        messages: As templates read them.
        tools: Tool declarations, or None.
        add_generation_prompt: End with the header of an assistant's turn.

    Returns:
        The text, with the special tokens written out.

    Raises:
        TemplateError: If the template raises, with its own message.
    """
    try:
        return compiled.render(
            {
                **variables,
                "messages": messages,
                "tools": tools,
                "documents": None,
                "add_generation_prompt": add_generation_prompt,
            }
        )
    except TEMPLATE_FAULTS as fault:
        raise TemplateError(f"The chat template refuses this conversation: {fault}") from fault
