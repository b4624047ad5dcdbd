r"""Tool calls read back out of an answer, in whatever form the model's chat template writes them.

What surrounds a call is found by rendering one with marks in it, as training renders it: so an
answer is read by the form that the model was taught, and no list of model families is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from danlu.errors import TemplateError
from danlu.sequences.template import ChatTemplate

_NAME, _KEY, _VALUE = "danlu_marked_name", "danlu_marked_key", "danlu_marked_value"
_ARGUMENT_KEYS = ("arguments", "parameters", "args")


@dataclass(frozen=True)
class CallForm:
    """How calls stand in an answer.

    Attributes:
        before: What is written before the JSON of a call.
        after: What is written behind it.
        name_key: Under which key the function's name stands.
        arguments_key: Under which its arguments do.
    """

    before: str
    after: str
    name_key: str
    arguments_key: str

    def read(self, answer: str) -> tuple[str, list[dict[str, Any]]]:
        """Take the calls out of an answer.

        Args:
            answer: Its whole text.

        Returns:
            What is left, and for each call ``name`` and ``arguments`` (JSON text). What looks like
            a call and cannot be read stays in the text.
        """
        calls, rest, at = [], [], 0
        while True:
            found = answer.find(self.before, at) if self.before else _next_brace(answer, at)
            if found < 0:
                break
            begin = found + len(self.before)
            read = self._call(answer, begin)
            if read is None:
                rest.append(answer[at : found + max(1, len(self.before))])
                at = found + max(1, len(self.before))
                continue
            call, end = read
            calls.append(call)
            rest.append(answer[at:found])
            at = end
            if self.after.strip() and answer[at:].lstrip().startswith(self.after.strip()):
                at = answer.index(self.after.strip(), at) + len(self.after.strip())
        rest.append(answer[at:])
        text = "".join(rest)
        return (text.strip() if calls else text), calls

    def _call(self, answer: str, begin: int) -> tuple[dict[str, Any], int] | None:
        begin += len(answer[begin:]) - len(answer[begin:].lstrip())
        try:
            found, length = json.JSONDecoder().raw_decode(answer[begin:])
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, Mapping) or not isinstance(found.get(self.name_key), str):
            return None
        if self.arguments_key not in found:
            return None
        raw = answer[begin : begin + length]
        arguments = found[self.arguments_key]
        if not isinstance(arguments, str):
            arguments = _as_written(raw, self.arguments_key, arguments)
        return {"name": found[self.name_key], "arguments": arguments}, begin + length


def call_form(template: ChatTemplate) -> CallForm | None:
    """Find out how a template writes tool calls; None if it shows none as JSON."""
    if not template.probed.renders_calls:
        return None
    for calls in (2, 1):  # some templates write one call at a time only
        answer = _marked(template, calls)
        places = _json_places(answer) if answer else []
        if len(places) >= calls:
            return _form(answer, places[:calls])
    return None


def _marked(template: ChatTemplate, calls: int) -> str:
    """Return what a template writes for marked calls; empty if it refuses."""
    function = {"name": _NAME, "arguments": json.dumps({_KEY: _VALUE})}
    called = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": f"callabcd{number}", "type": "function", "function": function}
            for number in range(calls)
        ],
    }
    tools = [{"type": "function", "function": {"name": _NAME, "parameters": {}}}]
    asked = {"role": "user", "content": "?"}
    for declared in (tools, None):
        try:
            prompt = template.render([asked], declared, add_generation_prompt=True)
            text = template.render([asked, called], declared)
        except TemplateError:
            continue
        answer = text[len(prompt) :] if text.startswith(prompt) else text
        for stop in template.stop_tokens:
            answer = answer.partition(stop)[0] if _NAME in answer.partition(stop)[0] else answer
        return answer
    return ""


def _json_places(answer: str) -> list[tuple[int, int, str, str]]:
    """Find marked calls: begin, end, the key of the name, the key of the arguments."""
    found = []
    at = 0
    while (begin := answer.find("{", at)) >= 0:
        at = begin + 1
        try:
            call, length = json.JSONDecoder().raw_decode(answer[begin:])
        except (ValueError, RecursionError):
            continue
        if not isinstance(call, Mapping):
            continue
        names = [key for key, value in call.items() if value == _NAME]
        keys = [key for key in _ARGUMENT_KEYS if key in call]
        if names and keys:
            found.append((begin, begin + length, names[0], keys[0]))
            at = begin + length
    return found


def _form(answer: str, places: Sequence[tuple[int, int, str, str]]) -> CallForm:
    """Tell what belongs to every call from what stands once."""
    (begin, end, name_key, arguments_key), last = places[0], places[-1]
    before, after = answer[:begin].rstrip(), answer[last[1] :].strip()
    if len(places) > 1:
        between = answer[end : last[0]].rstrip()
        same = (a == b for a, b in zip(reversed(before), reversed(between), strict=False))
        length = len(list(takewhile(bool, same)))
        before = before[len(before) - length :]
    else:
        before = before.rpartition("\n")[2]
    return CallForm(before.strip(), after, name_key, arguments_key)


def _next_brace(answer: str, at: int) -> int:
    """Without marks around it, a call is an answer that is nothing but the call."""
    begin = len(answer) - len(answer.lstrip())
    return begin if at <= begin and answer[begin : begin + 1] == "{" else -1


def _as_written(raw: str, key: str, arguments: Any) -> str:
    """Return the arguments as the model wrote them, byte for byte."""
    for match in re.finditer(rf'"{re.escape(key)}"\s*:\s*', raw):
        try:
            value, length = json.JSONDecoder().raw_decode(raw[match.end() :])
        except (ValueError, RecursionError):
            continue
        if value == arguments:
            return raw[match.end() : match.end() + length]
    return json.dumps(arguments, ensure_ascii=False)


def with_ids(calls: Sequence[Mapping[str, Any]], answer: str) -> list[dict[str, Any]]:
    """Return calls in OpenAI's form; ids say which answer and which of its calls.

    Example:
        >>> with_ids([{"name": "f", "arguments": "{}"}], "chatcmpl-1")[0]["id"]
        'call_1_0'
    """
    return [
        {
            "id": f"call_{answer.removeprefix('chatcmpl-')}_{number}",
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for number, call in enumerate(calls)
    ]
