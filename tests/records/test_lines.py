"""A record as a line: the bytes of the plain encoder, and the same record back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RecordError
from danlu.records import Message, Record, Response, to_row
from danlu.records.lines import decode_record, encode_record

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAME = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
EXTRA = st.dictionaries(NAME.map(lambda name: f"x{name}"), JSON.filter(lambda v: v is not None))
MESSAGES = st.builds(
    Message, NAME, TEXT, st.sampled_from([1.0, 0.0, 0.5, 3.0]), EXTRA | st.just({})
)
RESPONSES = st.builds(
    Response,
    TEXT,
    st.none() | st.integers(1, 9),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
)
RECORDS = st.builds(
    Record,
    TEXT,
    st.builds("{}/{}".format, NAME, NAME),
    st.lists(MESSAGES, min_size=1, max_size=3).map(tuple),
    st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2).map(tuple),
    st.lists(RESPONSES, max_size=2).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
    TEXT,
    st.dictionaries(TEXT, JSON, max_size=2),
)


@given(RECORDS)
def test_the_line_is_the_encoders_and_reads_back(record: Record) -> None:
    line = encode_record(record)
    assert line.decode() == json.dumps(to_row(record), ensure_ascii=False) + "\n"
    back = decode_record(line)
    assert back == record
    assert encode_record(back) == line


@pytest.mark.parametrize(
    "arguments",
    [
        '{"b": 1, "a":2}',
        '{"n": 123456789012345678901234567890, "x": 1.10, "y": 1e5, "z": -0}',
        '{ "text" :  "\\u4f60\\u597d \\/ \\ud83d\\ude00", "\\u00e9": "é" }',
        '{"twice": 1, "twice": 2}',
        "not JSON at all, \t\u2028 but a text",
    ],
)
def test_tool_arguments_stay_as_they_are(arguments: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    record = Record("1", "a/b", (Message("assistant", None, extra={"tool_calls": [call]}),))
    [message] = decode_record(encode_record(record)).messages
    assert message.extra["tool_calls"][0]["function"]["arguments"] == arguments


def test_arguments_that_are_objects_keep_order_and_integers() -> None:
    inside: dict[str, Any] = {"z": 2**70, "a": [1, {"y": None, "b": 0.1}]}
    call = {"type": "function", "function": {"name": "f", "arguments": inside}}
    record = Record("1", "a/b", (Message("assistant", None, extra={"tool_calls": [call]}),))
    back = decode_record(encode_record(record)).messages[0].extra["tool_calls"][0]["function"]
    assert json.dumps(back["arguments"]) == json.dumps(inside)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Record("7", "a/b", ()), "there is no message"),
        (Record("7", "ab", (Message("user", "x"),)), "two levels"),
        (Record("7", "a/b", (Message("user", None),)), "has no content"),
        (Record("7", "a/b", (Message("user", "\ud800"),)), "JSON has not"),
        (Record("7", "a/b", (Message("user", "x"),), meta={"x": float("nan")}), "JSON has not"),
        (Record("7", "a/b", (Message("user", "x"),), meta={"x": {1}}), "JSON has not"),
    ],
)
def test_what_is_not_whole_is_named(record: Record, reason: str) -> None:
    with pytest.raises(RecordError, match=reason) as caught:
        encode_record(record)
    assert caught.value.where == "record 7"


@pytest.mark.parametrize("line", ["{}", "[]", "{", '{"id": "1", "messages": [3]}'])
def test_a_line_that_is_no_record(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_record(line)
