"""Limits on what a chat template may do: time, and the size of what it makes.

A template comes with a model from anywhere, and is a program: Jinja's sandbox keeps it from files
and from Python, but not from running for ever or from filling the memory. Here every loop, every
64th turn of it and every call looks at a clock, and all that can make a text, a list or a number
grow is measured before it is done. What is left between two looks is a few steps over data of
bounded size.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import islice
from typing import Any, cast

import jinja2
import jinja2.filters
import jinja2.runtime
import jinja2.utils
import jinja2.visitor
from jinja2 import nodes

RENDER_S = 1.0
"""Of one rendering, in processor time, before it is ended; at the latest after twice as much."""
MOST = 10_000_000
"""Characters or items of one value; two million tokens."""
MOST_BITS = 4096
"""Of a whole number."""

AT_ONCE = 64
"""Turns of a loop between two looks, and parts of a text that are measured together."""

SMALL = 1 << 62
"""Numbers below are not looked at."""

_HOLDING = (list, tuple, dict)

TURNS, HELD = "danlu_turns", "danlu_held"
"""Filters that are written into compiled templates; a template cannot name other things so."""


class BoundError(jinja2.TemplateError):
    """A template takes too long, or makes something too large."""


class Clocked(jinja2.runtime.Context):
    """A rendering's context, that knows when it should have ended."""

    until = 0.0
    began_s: float | None = None
    outer: Clocked | None = None

    def derived(self, locals: dict[str, Any] | None = None) -> Clocked:
        """Return a context for a block, which has the time that is left."""
        inner = cast(Clocked, super().derived(locals))
        inner.outer, inner.until = self, self.until
        return inner

    def late(self) -> None:
        """Raise if it is the template that took the time, and not a machine that was busy.

        The first look sets the clock; the second begins to count the processor's time, which costs
        more to ask for.

        Raises:
            BoundError: If so.
        """
        if self.outer is not None:
            tick(self.outer)
            self.until = self.outer.until
            return
        if self.until:
            now_s = time.thread_time()
            if self.began_s is None:
                self.began_s = now_s
            elif now_s - self.began_s >= RENDER_S / 2:
                raise BoundError(
                    f"it was not done after {RENDER_S:g} s of computing: do its loops or calls end?"
                )
        self.until = time.monotonic() + RENDER_S


def tick(context: Clocked) -> None:
    """Look at the clock."""
    if time.monotonic() > context.until:
        context.late()


@jinja2.pass_context
def turns(context: Clocked, items: Iterable[Any]) -> Iterable[Any]:
    """Return what a loop goes through, with a look at the clock now and every so many turns."""
    if time.monotonic() > context.until:
        context.late()
    return items if type(items) is list and len(items) <= AT_ONCE else _clocked(context, items)


def _clocked(context: Clocked, items: Iterable[Any]) -> Iterator[Any]:
    rest = iter(items)
    while some := list(islice(rest, AT_ONCE)):
        tick(context)
        yield from some


def held(value: Any) -> Any:
    """Return a value, unless it is too large.

    Raises:
        BoundError: If it is.
    """
    kind = type(value)
    if kind is int:
        if not -SMALL < value < SMALL:
            _must_have_bits(value.bit_length())
    elif kind is str:
        _must_fit(len(value))
    elif kind in _HOLDING:
        _must_fit(size(value))
    return value


def size(value: Any, seen: dict[int, int] | None = None) -> int:
    """Return how long a value would be if it were written out, roughly; shared parts each time.

    A number counts as one however large; texts by their characters. Takes time in proportion to
    the different parts, even where they would be written out more often than there are atoms.

    Example:
        >>> twice = ["ab", "ab"]
        >>> size([twice, twice])
        11
    """
    if isinstance(value, str | bytes):
        return len(value)
    if not isinstance(value, _HOLDING):
        return 1
    seen = {} if seen is None else seen
    if id(value) not in seen:
        seen[id(value)] = 1  # for one that holds itself, which is written as [...]
        parts: Iterable[Any] = value
        if isinstance(value, dict):
            parts = (part for pair in value.items() for part in pair)
        seen[id(value)] = 1 + sum(size(part, seen) for part in parts)
    return seen[id(value)]


def joined(parts: Iterable[str]) -> str:
    """Return a text of its parts; whatever a template writes comes through here.

    Raises:
        BoundError: If it is too long.
    """
    rest = iter(parts)
    text = "".join(islice(rest, AT_ONCE))
    length = len(text)
    found = [text]
    for part in rest:
        found += (part, *islice(rest, AT_ONCE))
        length += sum(map(len, found[-AT_ONCE - 1 :]))
        _must_fit(length)
    _must_fit(length)
    return "".join(found) if len(found) > 1 else text


def _too_large() -> BoundError:
    return BoundError(
        f"it makes something larger than {MOST:,} characters, items or {MOST_BITS} bits"
    )


def _must_fit(length: float) -> None:
    if length > MOST:
        raise _too_large()


# What can grow by more than the length of what stands in the template: predicted, then done.


def multiplied(left: Any, right: Any) -> Any:
    """``left * right``."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | bytes | list | tuple) and isinstance(other, int):
            _must_fit(size(one) * max(0, other))
    if isinstance(left, int) and isinstance(right, int):
        _must_have_bits(left.bit_length() + right.bit_length())
    return left * right


def power(left: Any, right: Any) -> Any:
    """``left ** right``."""
    if isinstance(left, int) and isinstance(right, int):
        _must_have_bits(left.bit_length() * abs(right))
    return left**right


def modulo(left: Any, right: Any) -> Any:
    """``left % right``, which fills in a text where the left is one."""
    if isinstance(left, str | bytes):
        _must_fit(_filled(left, (right,)))
    return left % right


def _must_have_bits(bits: int) -> None:
    if bits > MOST_BITS:
        raise _too_large()


def _filled(form: Any, given: Sequence[Any]) -> float:
    """Return how long a text with fields may become: each may be the longest that is given."""
    text = form if isinstance(form, str) else repr(form)
    widths = sum(int(digits[:9]) for digits in re.findall(r"\d+", text))
    numbers = [abs(one) for one in _flat(given) if isinstance(one, int)]
    longest = max([size(one) for one in given] + numbers, default=0)
    return len(text) + widths + (text.count("%") + text.count("{")) * longest


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        elif isinstance(value, dict):
            yield from _flat(value.values())
        else:
            yield value


def _width(_: Any, *args: Any) -> float:
    return max((abs(one) for one in args if isinstance(one, int)), default=0)


def _replaced(text: Any, old: Any = "", new: Any = "", *_: Any) -> float:
    text, old, new = (one if isinstance(one, bytes) else str(one) for one in (text, old, new))
    return float(len(text) + text.count(old) * max(0, len(new) - len(old)))


def _tabs(text: Any, width: Any = 8) -> float:
    return float(len(text) * max(1, width)) if isinstance(width, int) else 0


def _translated(text: Any, table: Any) -> float:
    values = table.values() if isinstance(table, dict) else ()
    return len(text) * max((size(value) for value in values), default=1)


def _indented(text: Any, width: Any = 4, *_: Any) -> float:
    each = len(width) if isinstance(width, str) else width
    return float(len(text) + (str(text).count("\n") + 1) * max(0, each))


def _wrapped(text: Any, width: Any = 79, _: Any = True, string: Any = None, *__: Any) -> float:
    return float(len(text) * (1 + len(string or "\n") / max(1, width)))


def _filled_in(form: Any, *args: Any) -> float:
    return _filled(form, args)


_GROWTH: Mapping[str, Callable[..., float]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "to_bytes", "tojson"), _width),
    **dict.fromkeys(("batch", "slice", "round"), _width),
    **dict.fromkeys(("format", "format_map"), _filled_in),
    "replace": _replaced,
    "expandtabs": _tabs,
    "translate": _translated,
    "indent": _indented,
    "wordwrap": _wrapped,
}
"""Filters and methods by name, each with the length of what it makes; ``join`` beside."""

GROWING_METHODS = frozenset(_GROWTH) | {"join"}


def bounded_method(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Check what a method would make, and return the arguments that it is called with.

    Raises:
        BoundError: If it would be too large.
    """
    owner = getattr(getattr(method, "__wrapped__", method), "__self__", None)
    if not isinstance(owner, str | bytes | int):
        return args
    name = method.__name__
    if name == "join" and args:
        items = list(args[0])
        _must_fit(sum(map(len, items)) + size(owner) * len(items))
        return (items,)
    if name != "join":
        _must_fit(_GROWTH[name](owner, *args, *kwargs.values()))
    return args


def bounded_filters(filters: dict[str, Any]) -> None:
    """Put what checks first in the place of the filters that can make much of little."""
    for name, growth in _GROWTH.items():
        if name in filters:
            filters[name] = _checked(filters[name], growth)
    filters["join"] = _checked_join(filters["join"])
    filters[TURNS], filters[HELD] = turns, held


def _leading(function: Any) -> int:
    """Return how many arguments of Jinja's come before a filter's value."""
    return 0 if jinja2.utils._PassArg.from_obj(function) is None else 1


def _checked(function: Any, growth: Callable[..., float]) -> Any:
    first = _leading(function)

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _must_fit(growth(*args[first:], *kwargs.values()))
        return function(*args, **kwargs)

    return checked


def _checked_join(function: Any) -> Any:
    @wraps(function)
    def checked(context: Any, value: Any, d: Any = "", attribute: Any = None) -> Any:
        items = list(value)
        _must_fit(size(items) + size(d) * len(items))
        return function(context, items, d, attribute)

    return checked


class Bounding(jinja2.visitor.NodeTransformer):
    """Writes the clock and the measure into a parsed template.

    Sums of texts are measured once for a whole chain, and not where they are written at once.
    (Jinja's visitor calls the methods by these names.)
    """

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        """Look at the clock now and then."""
        self.generic_visit(node)
        node.iter = _filtered(cast(nodes.Expr, node.iter), TURNS)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        """Leave what is written at once: ``joined`` measures it."""
        node.nodes = [self._in_chain(one) for one in node.nodes]
        return node

    def visit_Add(self, node: nodes.Add) -> nodes.Node:  # noqa: N802
        """Measure a sum."""
        return _filtered(self._in_chain(node), HELD)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Measure a text that is put together."""
        return _filtered(self._in_chain(node), HELD)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        """Measure a list, which may hold another one twice."""
        return self._literal(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        """Likewise."""
        return self._literal(node) if node.ctx == "load" else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        """Likewise."""
        return self._literal(node)

    def _in_chain(self, node: nodes.Expr) -> nodes.Expr:
        if isinstance(node, nodes.Add):
            node.left, node.right = self._in_chain(node.left), self._in_chain(node.right)
        elif isinstance(node, nodes.Concat):
            node.nodes = [self._in_chain(one) for one in node.nodes]
        else:
            visited: nodes.Expr = self.visit(node)
            return visited
        return node

    def _literal(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        plain = all(isinstance(one, nodes.Const | nodes.Pair) for one in node.iter_child_nodes())
        if plain and not any(node.find_all((nodes.Name, nodes.Filter, nodes.Call))):
            return node
        return _filtered(node, HELD)


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    filtered = nodes.Filter(node, name, [], [], None, None)
    filtered.set_lineno(node.lineno or 1)
    return filtered
