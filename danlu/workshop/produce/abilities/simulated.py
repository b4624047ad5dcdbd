"""Tools that code can play: declarations, arguments to draw, results that are always the same.

What can be computed is computed (sums, units, dates); the weather and the calendar are drawn by a
hash of the arguments, so that the same call gives the same result.
"""

from __future__ import annotations

import ast
import hashlib
import operator
import random
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

from danlu.config.strict_yaml import read_yaml
from danlu.workshop.produce.abilities.common import DATA
from danlu.workshop.produce.prompts import Language

Arguments = dict[str, Any]
Values = dict[str, Any]

_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
# Of the unit, in a unit that both share.
_FACTORS: Mapping[str, tuple[str, Fraction]] = {
    "km": ("length", Fraction(1000)),
    "metre": ("length", Fraction(1)),
    "mile": ("length", Fraction("1609.344")),
    "foot": ("length", Fraction("0.3048")),
    "kg": ("mass", Fraction(1)),
    "pound": ("mass", Fraction("0.45359237")),
    "litre": ("volume", Fraction(1)),
    "gallon": ("volume", Fraction("3.785411784")),
}
_PAIRS = (
    ("km", "mile"),
    ("kg", "pound"),
    ("litre", "gallon"),
    ("metre", "foot"),
    ("celsius", "fahrenheit"),
)


class Played(NamedTuple):
    """A call of a tool, and all that is said of it.

    Attributes:
        arguments: Of the call.
        result: As the tool returns it.
        values: What phrasings may use: arguments, results, and names of units.
        told: What an answer must name.
    """

    arguments: Arguments
    result: Mapping[str, Any]
    values: Values
    told: tuple[str, ...]


@cache
def material(language: Language) -> Mapping[str, Any]:
    """Return declarations and what prompts are drawn from, in a language."""
    path = DATA / f"tools.{language}.yaml"
    tree: Mapping[str, Any] = read_yaml(path.read_text("utf-8"), str(path)).value
    return tree


@cache
def declarations(language: Language) -> Mapping[str, Mapping[str, Any]]:
    """Return the declarations in the OpenAI schema, by name.

    Example:
        >>> list(declarations("zh"))[:3]
        ['get_weather', 'calculate', 'convert_units']
        >>> declarations("en")["days_between"]["function"]["parameters"]["required"]
        ['start', 'end']
    """
    found = {}
    for name, about in material(language)["declarations"].items():
        parameters = {
            "type": "object",
            "properties": about["parameters"],
            "required": about["required"],
        }
        function = {
            "name": name,
            "description": about["description"],
            "parameters": parameters,
        }
        found[name] = {"type": "function", "function": function}
    return found


def play(name: str, language: Language, chance: random.Random) -> Played:
    """Draw arguments of a tool, and call it."""
    return _PLAYS[name](material(language), chance)


def names() -> tuple[str, ...]:
    """Return the tools' names."""
    return tuple(_PLAYS)


def some_day(chance: random.Random) -> str:
    """Draw a date of the years 2026 and 2027."""
    return (date(2026, 1, 1) + timedelta(days=chance.randrange(730))).isoformat()


def calculate(expression: str) -> str:
    """Work out an arithmetic expression exactly; a fraction without end has six decimals.

    Raises:
        ValueError: If it is none, or divides by zero.

    Example:
        >>> calculate("(12.5 + 7.5) * 3"), calculate("10 / 4"), calculate("2 / 3")
        ('60', '2.5', '0.666667')
    """
    try:
        value = _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError) as error:
        raise ValueError(f"{expression!r} cannot be worked out: {error}") from error
    return decimal(value, 6)


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    raise ValueError("an expression has numbers, + - * / and brackets")


def decimal(value: Fraction, places: int) -> str:
    """Write a fraction with at most so many decimals, rounded half to even.

    Example:
        >>> decimal(Fraction(62137, 1000), 2), decimal(Fraction(-5), 2)
        ('62.14', '-5')
    """
    scaled = round(value * 10**places)
    digits = f"{abs(scaled):0{places + 1}}"
    text = f"{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")
    return f"-{text}" if scaled < 0 else text


def convert(value: Fraction, from_unit: str, to_unit: str) -> Fraction:
    """Convert a quantity.

    Raises:
        ValueError: If the units are not of one kind.

    Example:
        >>> convert(Fraction(100), "celsius", "fahrenheit")
        Fraction(212, 1)
        >>> float(convert(Fraction(1), "mile", "km"))
        1.609344
    """
    if (from_unit, to_unit) == ("celsius", "fahrenheit"):
        return value * Fraction(9, 5) + 32
    if (from_unit, to_unit) == ("fahrenheit", "celsius"):
        return (value - 32) * Fraction(5, 9)
    (kind, factor), (other, divisor) = _FACTORS[from_unit], _FACTORS[to_unit]
    if kind != other:
        raise ValueError(f"{from_unit} is a {kind} and {to_unit} a {other}")
    return value * factor / divisor


# Each tool -------------------------------------------------------------------------------


def _weather(pools: Mapping[str, Any], chance: random.Random) -> Played:
    arguments = {"city": chance.choice(pools["cities"]), "date": some_day(chance)}
    drawn = _drawn_by(arguments)
    condition = drawn.choice(pools["conditions"])
    result = {**arguments, "condition": condition, "temperature_c": drawn.randrange(-8, 36)}
    return Played(arguments, result, dict(result), (condition, str(result["temperature_c"])))


def _calculation(pools: Mapping[str, Any], chance: random.Random) -> Played:
    a, b, c = chance.randrange(101, 9999), chance.randrange(12, 999), chance.randrange(2, 97)
    forms = (
        f"{a} * {b}",
        f"({a} + {b}) * {c}",
        f"{a * b} / {b}",
        f"{a} - {b} * {c}",
        f"{a} / {2**3}",
    )
    arguments = {"expression": chance.choice(forms)}
    result = {"result": calculate(arguments["expression"])}
    return Played(arguments, result, arguments | result, (result["result"],))


def _conversion(pools: Mapping[str, Any], chance: random.Random) -> Played:
    pair = chance.choice(_PAIRS)
    from_unit, to_unit = pair if chance.random() < 0.5 else pair[::-1]
    value = chance.choice([chance.randrange(2, 500), chance.randrange(11, 999) / 10])
    return conversion(pools, value, from_unit, to_unit)


def conversion(pools: Mapping[str, Any], value: float, from_unit: str, to_unit: str) -> Played:
    """Call ``convert_units``."""
    arguments = {"value": value, "from_unit": from_unit, "to_unit": to_unit}
    found = decimal(convert(Fraction(str(value)), from_unit, to_unit), 2)
    units = pools["units"]
    values = {"from_name": units[from_unit], "to_name": units[to_unit], "result": found}
    return Played(arguments, {"result": found, "unit": to_unit}, arguments | values, (found,))


def _search(pools: Mapping[str, Any], chance: random.Random) -> Played:
    note = chance.choice(pools["notes"])
    arguments = {"query": note["query"]}
    found = {"results": [{"text": note["text"]}]}
    return Played(arguments, found, {**arguments, "text": note["text"]}, (note["value"],))


def _new_event(pools: Mapping[str, Any], chance: random.Random) -> Played:
    arguments = {
        "title": chance.choice(pools["titles"]),
        "date": some_day(chance),
        "time": f"{chance.randrange(7, 21):02}:{chance.choice(('00', '15', '30', '45'))}",
        "duration_minutes": chance.choice((30, 45, 60, 90, 120)),
    }
    number = f"ev-{_drawn_by(arguments).randrange(1000, 10_000)}"
    told = (arguments["title"], arguments["time"])
    return Played(arguments, {"status": "added", "event_id": number}, dict(arguments), told)


def _events(pools: Mapping[str, Any], chance: random.Random) -> Played:
    arguments = {"date": some_day(chance)}
    drawn = _drawn_by(arguments)
    titles = drawn.sample(pools["titles"], drawn.randrange(1, 4))
    hours = sorted(drawn.sample(range(8, 20), len(titles)))
    events = [
        {"time": f"{hour:02}:{drawn.choice(('00', '30'))}", "title": title}
        for hour, title in zip(hours, titles, strict=True)
    ]
    return Played(arguments, {"events": events}, {**arguments, "events": events}, tuple(titles))


def _days(pools: Mapping[str, Any], chance: random.Random) -> Played:
    start, end = sorted((some_day(chance), some_day(chance)))
    result = {"days": (date.fromisoformat(end) - date.fromisoformat(start)).days}
    arguments = {"start": start, "end": end}
    return Played(arguments, result, arguments | result, (str(result["days"]),))


def _message(pools: Mapping[str, Any], chance: random.Random) -> Played:
    arguments = {"to": chance.choice(pools["people"]), "text": chance.choice(pools["messages"])}
    number = f"msg-{_drawn_by(arguments).randrange(1000, 10_000)}"
    result = {"status": "sent", "message_id": number}
    return Played(arguments, result, dict(arguments), (arguments["to"],))


def _drawn_by(arguments: Arguments) -> random.Random:
    digest = hashlib.blake2b(repr(sorted(arguments.items())).encode(), digest_size=8)
    return random.Random(digest.hexdigest())


_PLAYS: Mapping[str, Callable[[Mapping[str, Any], random.Random], Played]] = {
    "get_weather": _weather,
    "calculate": _calculation,
    "convert_units": _conversion,
    "search_notes": _search,
    "add_event": _new_event,
    "list_events": _events,
    "days_between": _days,
    "send_message": _message,
}
