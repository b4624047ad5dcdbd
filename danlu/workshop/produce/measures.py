"""What code can see in an answer: values named, ignorance owned, conflicts told, tools called.

The patterns know how Chinese and English say such things; they are written for this purpose, and
err towards seeing too little, so that an answer that passes did say it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import regex

from danlu.records import Message
from danlu.records.json_text import loads
from danlu.workshop.likeness.text import fold

_THOUSANDS = regex.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_CALL = regex.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", regex.S)
_FENCE = regex.compile(r"\A\s*```[\w-]*[ \t]*\n(.*?)\n?```\s*\Z", regex.S)

_IGNORANCE = regex.compile(
    r"\b(?:(?:do not|don't|does not|doesn't|did not|didn't|cannot|can't|could not|couldn't|"
    r"unable to|not able to)\s+(?:\w+\s+){0,2}"
    r"(?:know|say|tell|find|answer|contain|mention|state|cover|include)|"
    r"no (?:relevant )?(?:information|passage|document|result|mention|answer)|"
    r"(?:is|are|was|were) not (?:in|given|stated|mentioned|known|found|covered)|"
    r"nothing (?:was |is )?(?:found|about|on)|not enough information)\b|"
    r"不知道|不清楚|不了解|没有?(?:找到|检索到|查到|提到|提及|说明|给出|包含|相关|涉及)|未(?:找到|检索到|提及|提到|提供|说明)|"
    r"无法(?:回答|确定|得知|判断|给出)|不能(?:回答|确定)|并?没有.{0,8}(?:资料|信息|内容|答案)|回答不了"
)
_CONFLICT = regex.compile(
    r"\b(?:contradict\w*|conflict\w*|disagree\w*|inconsisten\w*|differ(?:s|ing|ent answers)?|"
    r"do not agree|don't agree|whereas|while (?:the )?(?:other|another|passage))\b|"
    r"矛盾|冲突|不一致|不一样|说法不同|不同的说法|互相抵触|相互抵触|出入|另一[段份条篇则]"
)
_FAILURE = regex.compile(
    r"\b(?:fail(?:s|ed|ure)?|errors?|timed? ?out|unavailable|not available|unable to|could not|"
    r"couldn't|cannot|can't|did not work|didn't work|went wrong|not found)\b|"
    r"失败|出错|错误|超时|不可用|无法|未能|没能|没有成功|没成功|暂时|用不了|找不到"
)


def mentions(text: str, value: str) -> bool:
    """Whether a text names a value, whole: 12 is not in 120, nor in -12, 3.12 or 12.5.

    Width, case and the commas of thousands do not matter.

    Example:
        >>> mentions("About 1,200 km.", "1200"), mentions("It is 120.", "12")
        (True, False)
        >>> mentions("答案是１２。", "12"), mentions("Modern Art", "art"), mentions("part", "art")
        (True, True, False)
    """
    wanted, found = _plain(value), _plain(text)
    if not wanted:
        return False
    return regex.search(whole(wanted), found) is not None


def whole(value: str) -> str:
    """Return the pattern of a value that is part of no longer word or number.

    Example:
        >>> regex.findall(whole("2"), "2 of 12, 2.5, -2 or 22"), regex.findall(whole("铁"), "铁炉")
        (['2'], ['铁'])
    """
    before = after = ""
    if value[0].isascii() and value[0].isalnum():
        before = r"(?<![A-Za-z0-9])"
        if value[0].isdigit():
            before += r"(?<!\d[.,])(?<!(?<!\w)[-−])"
    if value[-1].isascii() and value[-1].isalnum():
        after = r"(?![A-Za-z0-9])" + (r"(?![.,]\d)" if value[-1].isdigit() else "")
    return before + regex.escape(value) + after


def _plain(text: str) -> str:
    return _THOUSANDS.sub("", fold(text))


def mentions_all(text: str, values: str | Iterable[str]) -> bool:
    """Whether a text names every value."""
    return all(mentions(text, one) for one in _several(values))


def mentions_none(text: str, values: str | Iterable[str]) -> bool:
    """Whether a text names none of the values."""
    return not any(mentions(text, one) for one in _several(values))


def _several(values: str | Iterable[str]) -> Iterable[str]:
    return [values] if isinstance(values, str) else values


def declines(text: str) -> bool:
    """Whether an answer says that it does not know, or that nothing was found.

    Example:
        >>> declines("The passages do not say when it was."), declines("It was built in 1900.")
        (True, False)
        >>> declines("资料里没有提到建成年份。"), declines("建于 1900 年。")
        (True, False)
    """
    return _IGNORANCE.search(fold(text)) is not None


def names_conflict(text: str) -> bool:
    """Whether an answer says that its sources contradict one another.

    Example:
        >>> names_conflict("The two passages disagree: 1900 and 1910."), names_conflict("In 1900.")
        (True, False)
        >>> names_conflict("两段资料说法不一致。")
        True
    """
    return _CONFLICT.search(fold(text)) is not None


def admits_failure(text: str) -> bool:
    """Whether an answer says that something did not work.

    Example:
        >>> admits_failure("The weather service timed out."), admits_failure("It is sunny.")
        (True, False)
        >>> admits_failure("天气查询失败了，请稍后再试。")
        True
    """
    return _FAILURE.search(fold(text)) is not None


def said(message: Message) -> str:
    r"""Return all that a message says as text, its tool calls as ``calls_in`` reads them.

    Example:
        >>> call = {"function": {"name": "add", "arguments": '{"a": 1}'}}
        >>> said(Message("assistant", None, extra={"tool_calls": [call]}))
        '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    """
    parts = [message.content] if message.content else []
    for call in message.extra.get("tool_calls") or ():
        function = call.get("function", call)
        arguments = function.get("arguments") or "{}"
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        name = json.dumps(function.get("name"), ensure_ascii=False)
        parts.append(f'<tool_call>{{"name": {name}, "arguments": {arguments}}}</tool_call>')
    return "\n".join(parts)


def calls_in(text: str) -> list[str] | None:
    r"""Return the tool calls of an answer, each as one form of JSON, sorted; None if one is broken.

    Understood are JSON objects between ``<tool_call>`` and ``</tool_call>``, and an answer that is
    nothing but JSON: a call, a list of calls, or ``{"tool_calls": [...]}``. Spaces, the order of
    keys, width and case of texts, and 3 against 3.0 make no difference.

    Example:
        >>> calls_in('<tool_call>\n{"name": "add", "arguments": {"b": 2.0, "a": 1}}\n</tool_call>')
        ['{"arguments": {"a": 1, "b": 2}, "name": "add"}']
        >>> calls_in("It is sunny."), calls_in("<tool_call>{oops}</tool_call>")
        ([], None)
    """
    pieces = _CALL.findall(text)
    try:
        if pieces:
            return sorted(call_form(loads(piece)) for piece in pieces)
        fenced = _FENCE.match(text)
        whole = loads(fenced[1] if fenced else text)
    except ValueError:
        return None if pieces or "<tool_call>" in text else []
    if isinstance(whole, Mapping) and isinstance(whole.get("tool_calls"), list):
        whole = whole["tool_calls"]
    calls = whole if isinstance(whole, list) else [whole]
    if not all(isinstance(one, Mapping) and ("function" in one or "name" in one) for one in calls):
        return []
    try:
        return sorted(call_form(one) for one in calls)
    except ValueError:
        return None


def call_form(call: Any) -> str:
    """Return a call in the one form by which calls are compared.

    Raises:
        ValueError: If it is none.
    """
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError("a call has no name")
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = loads(arguments or "{}")
    if not isinstance(arguments, Mapping):
        raise ValueError("the arguments are no object")
    form = {"name": function["name"], "arguments": _even(arguments)}
    return json.dumps(form, ensure_ascii=False, sort_keys=True)


def _even(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _even(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_even(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return fold(value) if isinstance(value, str) else value


def same_calls(found: list[str] | None, wanted: str | Iterable[str]) -> bool:
    """Whether the calls of an answer are those that are wanted, in any order.

    Args:
        found: As ``calls_in`` gives them.
        wanted: Calls as JSON.
    """
    return found == sorted(call_form(json.loads(one)) for one in _several(wanted))
