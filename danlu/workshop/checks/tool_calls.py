"""Format by code: calls of tools match what the record declares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from danlu.records.json_text import loads
from danlu.workshop.checks.check import Rule, Running
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord
from danlu.workshop.checks.schema import schema_of
from danlu.workshop.checks.view import View


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Checks every tool call: its name, its arguments, which are required, and their types."""

    name: ClassVar[str] = "tool_calls"
    finds: ClassVar[str] = "calls of tools that do not match their declaration"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "not_declared",
            "fault",
            "a tool is called that the record does not declare",
            "Declare it, or correct the name.",
        ),
        Rule(
            "no_declarations",
            "attention",
            "tools are called and none is declared",
            "Add the record's tools, so that the model learns to read declarations.",
        ),
        Rule(
            "arguments_invalid",
            "fault",
            "the arguments are no JSON object",
            "Mend them: no program could run this call.",
        ),
        Rule(
            "argument_missing",
            "fault",
            "a required argument is missing",
            "Add it, or have the assistant ask for it first.",
        ),
        Rule(
            "argument_unknown",
            "attention",
            "an argument is not declared",
            "Correct its name, or declare it.",
        ),
        Rule(
            "argument_mismatch",
            "fault",
            "an argument's type or value does not match the declaration",
            "Correct the argument or the declaration.",
        ),
        Rule(
            "declaration_invalid",
            "attention",
            "a declaration's parameters are no valid JSON Schema, so calls cannot be checked",
            "Mend the schema.",
        ),
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return PerRecord(self, _look)


def _look(view: View) -> list[Hit] | None:
    record = view.record
    calls = [
        (view.name_of(index), call)
        for index, message in enumerate(record.messages)
        if message.extra
        for call in message.extra.get("tool_calls") or ()
    ]
    if not calls and not record.tools:
        return None
    hits = []
    declared = {}
    for tool in record.tools:
        function = tool.get("function", tool)
        if isinstance(function, Mapping):
            name, parameters = str(function.get("name")), function.get("parameters") or {}
            fault = "they are no object"
            if isinstance(parameters, Mapping):
                fault = schema_of(parameters).fault
            declared[name] = parameters if isinstance(parameters, Mapping) else {}
            if fault:
                hits.append(Hit("declaration_invalid", name, detail=fault))
    for place, call in calls:
        hits += [hit._replace(detail=f"{place}: {hit.detail}") for hit in _hits(call, declared)]
    return hits


def _hits(call: Any, declared: Mapping[str, Mapping[str, Any]]) -> Iterator[Hit]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        yield Hit("arguments_invalid", detail="the call is no object")
        return
    name, arguments = str(function.get("name")), function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments or "{}")
        except json.JSONDecodeError as error:
            yield Hit("arguments_invalid", name, detail=str(error))
            return
    if not isinstance(arguments, Mapping):
        yield Hit("arguments_invalid", name, detail=f"they are {arguments!r:.80}")
        return
    if not declared:
        yield Hit("no_declarations", name, detail=name)
    elif name not in declared:
        yield Hit("not_declared", name, detail=f"there is {', '.join(declared)}")
    else:
        yield from _against(name, dict(arguments), declared[name])


def _against(name: str, arguments: dict[str, Any], parameters: Mapping[str, Any]) -> Iterator[Hit]:
    properties = parameters.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    required = parameters.get("required")
    needed = required if isinstance(required, list) else []
    for argument in needed:
        if isinstance(argument, str) and argument not in arguments:
            yield Hit("argument_missing", argument, detail=f"{name}() lacks {argument}")
    for argument in arguments:
        if argument not in known and not parameters.get("additionalProperties"):
            yield Hit("argument_unknown", argument, detail=f"{name}() has no {argument}")
    schema = schema_of({key: value for key, value in parameters.items() if key != "required"})
    for fault in schema.faults({key: arguments[key] for key in arguments if key in known}):
        yield Hit("argument_mismatch", name, detail=f"{name}(): {fault}")
