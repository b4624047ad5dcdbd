from __future__ import annotations

import pytest

from danlu.errors import RecordError
from danlu.records import Message
from danlu.records.formats import recognise
from danlu.records.formats.openai import OPENAI


def test_tool_calls_keep_every_byte_of_their_arguments() -> None:
    calls = [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "rate", "arguments": '{"from":"CNY",  "to": "\\u6b27"}'},
        }
    ]
    tools = [{"type": "function", "function": {"name": "rate", "parameters": {}}}]
    row = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "人民币兑欧元？", "name": "li"},
            {"role": "assistant", "content": None, "tool_calls": calls, "refusal": None},
            {"role": "tool", "tool_call_id": "call_1", "content": "0.13"},
            {"role": "assistant", "content": "0.13", "reasoning_content": "Read it off."},
        ],
        "tools": tools,
        "parallel_tool_calls": False,
    }
    parts = OPENAI.parse(row)
    assert parts.messages == (
        Message("developer", "Be brief."),
        Message("user", "人民币兑欧元？", extra={"name": "li"}),
        Message("assistant", None, extra={"tool_calls": calls}),
        Message("tool", "0.13", extra={"tool_call_id": "call_1"}),
        Message("assistant", "0.13", extra={"reasoning_content": "Read it off."}),
    )
    assert parts.tools == tuple(tools)
    assert row == {"parallel_tool_calls": False}


def test_content_as_text_parts() -> None:
    parts = [{"type": "text", "text": "Look: "}, {"type": "text", "text": "snow"}]
    row = {"messages": [{"role": "user", "content": parts}]}
    assert OPENAI.parse(row).messages == (Message("user", "Look: snow"),)


def test_weights_of_fine_tuning() -> None:
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "weight": 0},
            {"role": "assistant", "content": "c", "weight": 1},
            {"role": "assistant", "content": "d", "weight": 0.25, "loss": None},
            {"role": "assistant", "content": "e", "weight": 0, "train": False},
        ]
    }
    assert [message.weight for message in OPENAI.parse(row).messages] == [1, 0, 1, 0.25, 0]


def test_the_older_schema_of_functions() -> None:
    row = {
        "messages": [
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "now", "arguments": "{ }"},
            },
            {"role": "function", "name": "now", "content": "12:00"},
        ],
        "functions": [{"name": "now", "parameters": {}}],
    }
    parts = OPENAI.parse(row)
    call = {"type": "function", "function": {"name": "now", "arguments": "{ }"}}
    assert parts.messages == (
        Message("assistant", None, extra={"tool_calls": [call]}),
        Message("tool", "12:00", extra={"name": "now"}),
    )
    assert parts.tools == ({"type": "function", "function": {"name": "now", "parameters": {}}},)


def test_bare_tool_calls_get_the_schema() -> None:
    message = {"role": "assistant", "content": "", "tool_calls": [{"id": "x", "name": "f"}]}
    [read] = OPENAI.parse({"messages": [message]}).messages
    assert read.extra == {
        "tool_calls": [{"type": "function", "id": "x", "function": {"name": "f"}}]
    }


def test_a_system_column_goes_first() -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}], "system": "Be kind."}
    assert OPENAI.parse(row).messages == (Message("system", "Be kind."), Message("user", "Hi"))


def test_the_same_system_message_twice_is_one() -> None:
    row = {"messages": [{"role": "system", "content": "Be kind."}], "system": "Be kind."}
    assert OPENAI.parse(row).messages == (Message("system", "Be kind."),)


def test_messages_as_json_text_in_a_table() -> None:
    row = {"messages": '[{"role": "user", "content": "Hi"}]'}
    assert recognise(row) is OPENAI
    assert OPENAI.parse(row).messages == (Message("user", "Hi"),)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Hi", "message 1 is text; it must be an object"),
        ({"content": "Hi"}, "message 1 has no 'role'; it has content"),
        ({"role": "", "content": "Hi"}, "message 1 has no 'role'"),
        ({"role": "user"}, r"message 1 \(user\) has no content"),
        ({"role": "assistant", "content": None}, "has no content"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "has no content"),
        ({"role": "user", "content": 1}, "is a number; it must be text"),
        ({"role": "user", "content": [{"type": "image_url"}]}, r"no text \(image_url\)"),
        ({"role": "user", "content": [7]}, r"no text \(a number\)"),
        ({"role": "a", "content": "b", "weight": -1}, "'weight' of message 1 is -1"),
        ({"role": "a", "content": "b", "weight": "1"}, "'weight' of message 1 is '1'"),
        ({"role": "a", "content": "b", "weight": float("inf")}, "is inf"),
        ({"role": "a", "content": "b", "loss": 0.3}, "must be a yes or no"),
        ({"role": "a", "content": "b", "weight": 1, "train": False}, "two different weights"),
        ({"role": "a", "content": None, "tool_calls": "f()"}, "'tool_calls' of message 1 is text"),
        ({"role": "a", "content": None, "tool_calls": [{}]}, "names no function"),
        ({"role": "a", "content": None, "tool_calls": ["f"]}, "names no function"),
        (
            {"role": "a", "content": "b", "tool_calls": [{"name": "f"}], "function_call": {}},
            "both 'tool_calls' and 'function_call'",
        ),
    ],
)
def test_broken_messages(message: object, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        OPENAI.parse({"messages": [message]})


def test_two_system_messages_that_differ() -> None:
    row = {"messages": [{"role": "system", "content": "Be brief."}], "system": "Be kind."}
    with pytest.raises(RecordError, match="two different system messages"):
        OPENAI.parse(row)


def test_both_tools_and_functions() -> None:
    row = {"messages": [], "tools": [{"name": "a"}], "functions": [{"name": "b"}]}
    with pytest.raises(RecordError, match="both 'tools' and 'functions'"):
        OPENAI.parse(row)
