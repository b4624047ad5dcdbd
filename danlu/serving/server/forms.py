"""What form an answer has to have: ``response_format``, and ``tool_choice`` that forces a call."""

from __future__ import annotations

from typing import Any

from danlu.errors import DanluError
from danlu.serving.server.faults import ApiError
from danlu.serving.server.protocol import ChatRequest
from danlu.serving.server.served import Served

ANY_OBJECT = {"type": "object"}


def asked_form(request: ChatRequest, served: Served) -> str | None:
    """Return the grammar that an answer is held to; None if it is free.

    Raises:
        ApiError: If it cannot be held to what is asked for.
    """
    forced = forced_functions(request)
    if forced is not None:
        return _call(forced, request, served)
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    schema: Any = ANY_OBJECT
    if wanted.type == "json_schema":
        about = wanted.json_schema
        schema = about.get("schema") if about else None
        if not isinstance(schema, dict):
            raise ApiError(
                'give the schema as {"type": "json_schema", "json_schema": {"schema": …}}.',
                param="response_format",
            )
    elif wanted.type != "json_object":
        raise ApiError(
            f"response_format {wanted.type!r} is not known; text, json_object and json_schema are.",
            param="response_format",
        )
    try:
        return served.grammars.json(schema)
    except (DanluError, ValueError) as error:
        raise ApiError(str(error), param="response_format") from error


def forced_functions(request: ChatRequest) -> list[str] | None:
    """Return which functions one of has to be called; None if none has to.

    Raises:
        ApiError: If the choice is none, or names what was not declared.
    """
    choice = request.tool_choice
    if choice in (None, "auto", "none"):
        return None
    declared = [tool.function.name for tool in request.tools or ()]
    if choice == "required" and declared:
        return declared
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name in declared:
        return [str(name)]
    raise ApiError(
        "tool_choice must be 'auto', 'none', 'required', or name a function that is in tools.",
        param="tool_choice",
    )


def _call(names: list[str], request: ChatRequest, served: Served) -> str:
    form = served.calls
    if form is None:
        raise ApiError(
            f"a call cannot be forced: the chat template of {served.name} writes no calls.",
            param="tool_choice",
        )
    calls = []
    for tool in request.tools or ():
        if tool.function.name in names:
            arguments = (tool.function.model_extra or {}).get("parameters") or ANY_OBJECT
            properties = {
                form.name_key: {"const": tool.function.name},
                form.arguments_key: arguments,
            }
            calls.append(
                {
                    "type": "object",
                    "properties": properties,
                    "required": list(properties),
                    "additionalProperties": False,
                }
            )
    try:
        return served.grammars.call(form.before, form.after, calls)
    except (DanluError, ValueError) as error:
        raise ApiError(str(error), param="tools") from error
