from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from danlu.errors import RecordError
from danlu.records import Message
from danlu.records.formats.sharegpt import SHAREGPT, read_calls


def call(name: str, arguments: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_conversation_with_tools() -> None:
    """Roles get the usual names; arguments keep their spacing; bare tools are wrapped."""
    row = {
        "system": "You know trains.",
        "conversations": [
            {"from": "human", "value": "下一班去成都的车？"},
            {
                "from": "function_call",
                "value": '{"name": "next_train",  "arguments": {"to":"成都", "n": 1.50}}',
            },
            {"from": "observation", "value": '{"at": "9:40"}'},
            {"from": "gpt", "value": "九点四十分。"},
        ],
        "tools": '[{"name": "next_train", "parameters": {"type": "object"}}]',
    }
    parts = SHAREGPT.parse(row)
    assert parts.messages == (
        Message("system", "You know trains."),
        Message("user", "下一班去成都的车？"),
        Message(
            "assistant",
            None,
            extra={"tool_calls": [call("next_train", '{"to":"成都", "n": 1.50}')]},
        ),
        Message("tool", '{"at": "9:40"}'),
        Message("assistant", "九点四十分。"),
    )
    assert parts.tools == (
        {
            "type": "function",
            "function": {"name": "next_train", "parameters": {"type": "object"}},
        },
    )
    assert row == {}


def test_openai_names_other_roles_and_weights() -> None:
    row = {
        "conversations": [
            {"role": "background", "content": "A tavern at night."},
            {"from": "narrator", "value": "The door opens."},
            {"from": "user", "value": "Who is there?"},
            {"from": "assistant", "value": "Only the wind.", "weight": 0},
            {"from": "human", "value": "Again?"},
            {"from": "gpt", "value": "A guest.", "loss": True, "name": "innkeeper"},
            {"from": "gpt", "value": "Hm.", "train": False},
        ]
    }
    assert SHAREGPT.parse(row).messages == (
        Message("background", "A tavern at night."),
        Message("narrator", "The door opens."),
        Message("user", "Who is there?"),
        Message("assistant", "Only the wind.", 0.0),
        Message("user", "Again?"),
        Message("assistant", "A guest.", 1.0, {"name": "innkeeper"}),
        Message("assistant", "Hm.", 0.0),
    )


def test_a_weight_on_a_tool_call() -> None:
    turn = {"from": "function_call", "value": '{"name": "now"}', "weight": 0.5}
    [message] = SHAREGPT.parse({"conversations": [turn]}).messages
    assert message == Message("assistant", None, 0.5, {"tool_calls": [call("now", "{}")]})


def test_several_calls_in_one_turn() -> None:
    text = '[{"name": "a", "arguments": {}},\n {"arguments": {"x": [1,  2]}, "name": "b"}]'
    assert read_calls(text, 1) == [call("a", "{}"), call("b", '{"x": [1,  2]}')]


def test_arguments_that_are_json_text_already() -> None:
    text = json.dumps({"name": "add", "arguments": '{"a":1}'})
    assert read_calls(text, 1) == [call("add", '{"a":1}')]


def test_a_call_that_is_an_object_and_not_text() -> None:
    assert read_calls({"name": "say", "arguments": {"t": "好"}}, 1) == [call("say", '{"t": "好"}')]


# A shared machine or a slow disk is no fault: no deadline, and no check of how fast examples come.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@patient
@given(
    name=st.text(),
    arguments=st.dictionaries(st.text(), json_values, max_size=4),
    indent=st.none() | st.integers(0, 3),
    ascii_only=st.booleans(),
    arguments_first=st.booleans(),
)
def test_arguments_keep_their_text_however_they_are_written(
    name: str,
    arguments: dict[str, object],
    indent: int | None,
    ascii_only: bool,
    arguments_first: bool,
) -> None:
    """Written inside the call with any layout, they come out as that very text."""
    inner = json.dumps(arguments, indent=indent, ensure_ascii=ascii_only)
    head = f'"name" : {json.dumps(name)}'
    body = f'"arguments":\n{inner} '
    text = f" {{ {body}, {head}}} " if arguments_first else f"{{{head},{body}}}"
    assert read_calls(text, 1) == [call(name, inner)]
    assert read_calls(f"[{text},{text}]", 1) == [call(name, inner)] * 2


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("get_time()", "turn 3 is a function_call that is not JSON"),
        ('{"name": "a", "arguments": {}', "not JSON"),
        ('{"name": "a"} {"name": "b"}', "something stands behind it"),
        ('{"name": "a" "arguments": {}}', "',' is missing"),
        ('{"arguments": {}}', "names no function"),
        ('{"name": 3}', "the function's name in turn 3 is a number"),
        ('{"name": "a", "parameters": {}}', "has 'parameters', which is not known"),
        ("{1: 2}", "not JSON"),
        (None, "not JSON"),
    ],
)
def test_broken_calls(value: object, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        read_calls(value, 3)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"conversations": ["Hi"]}, "turn 1 is text; it must be an object"),
        ({"conversations": [{"value": "Hi"}]}, "message 1 has no 'from'; it has value"),
        ({"conversations": [{"from": "gpt"}]}, r"message 1 \(assistant\) has no content"),
        ({"conversations": [{"from": "gpt", "value": 3}]}, "is a number; it must be text"),
        ({"conversations": {}}, "'conversations' is an object"),
        ({"conversations": [], "tools": "[1]"}, "tool 1 is a number"),
        ({"conversations": [], "tools": "none"}, "'tools' is text that is not JSON"),
    ],
)
def test_broken_sharegpt_rows(row: dict[str, object], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        SHAREGPT.parse(row)
