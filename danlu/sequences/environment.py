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
from danlu.sequences.bounds import (
    GROWING_METHODS,
    Bounding,
    Clocked,
    bounded_filters,
    bounded_method,
    held,
    joined,
    modulo,
    multiplied,
    power,
    tick,
)

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
        made: dict[Any, Any] = held(dict(*args, **kwargs))
        return made

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(jinja2.utils.Namespace):
    """``namespace(...)`` that refuses private names, by which a template could reach Python."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a template may not set the attribute {name!r}")
        super().__setitem__(name, value)


_OPERATORS = {"*": multiplied, "**": power, "%": modulo}


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The sandbox, with bounds (``bounds.py``) and a short way to what templates ask all the time.

    Fields of messages, values of loops, variables in namespaces and harmless string methods are
    handed over at once; everything else goes through the sandbox's checks. Those take longer than
    all the rest of rendering a conversation, and let these through in any case.
    """

    context_class = Clocked
    concat = staticmethod(joined)
    intercepted_binops = frozenset(_OPERATORS)

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

    def call(
        self, context: jinja2.runtime.Context, called: Any, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call something, as long as the time lasts and if what it makes is not too large."""
        tick(context)  # type: ignore[arg-type]  # it is ``context_class``
        if getattr(called, "__name__", None) in GROWING_METHODS:
            args = bounded_method(called, args, kwargs)
        return super().call(context, called, *args, **kwargs)

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        """Compute what could be large beyond measure."""
        if operator == "%" and type(left) is int:
            return left % right
        return _OPERATORS[operator](left, right)

    def call_filter(  # type: ignore[override]
        self, name: str, value: Any, args: Any = None, kwargs: Any = None, context: Any = None
    ) -> Any:
        """Apply a filter to one of many items (``map``), as long as the time lasts."""
        tick(context)
        return super().call_filter(name, value, args, kwargs, context)

    def call_test(  # type: ignore[override]
        self, name: str, value: Any, args: Any = None, kwargs: Any = None, context: Any = None
    ) -> Any:
        """Apply a test to one of many items (``select``), as long as the time lasts."""
        tick(context)
        return super().call_test(name, value, args, kwargs, context)

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        parsed: jinja2.nodes.Template = Bounding().visit(super()._parse(source, name, filename))
        return parsed


_MISSING = object()
_DICT_ATTRIBUTES = frozenset(dir(dict))
_STR_METHODS = frozenset({"startswith", "endswith", "split", "strip", "lstrip", "rstrip"})
_LOOP_VALUES = frozenset({"first", "last", "index", "index0", "revindex", "revindex0", "length"})


def _namespace(*args: Any, **kwargs: Any) -> _Namespace:
    space = _Namespace()
    for name, value in held(dict(*args, **kwargs)).items():
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
    bounded_filters(environment.filters)
    del environment.globals["lipsum"]  # text at random, of any length
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
    except (RecursionError, SyntaxError, MemoryError) as fault:  # of Python, which it becomes
        raise TemplateError(
            f"The chat template is nested too deeply ({fault}). Choose another one with "
            "model.template.",
            where="chat template",
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
