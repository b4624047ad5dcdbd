from __future__ import annotations

from hashlib import blake2b

import pytest

from danlu.errors import RecordError
from danlu.records import Message, Record, content_id
from danlu.records.check import check_messages


def test_content_id_is_the_hash_of_sorted_json() -> None:
    text = '{"a":"丹","b":[1,2.5,null]}'
    digest = blake2b(text.encode(), digest_size=8).hexdigest()
    assert content_id({"b": [1, 2.5, None], "a": "丹"}) == digest


def test_a_plain_document_knows_itself() -> None:
    assert Record("1", "a/b", (Message("text", "x"),)).is_text
    assert not Record("1", "a/b", (Message("user", "x"),)).is_text
    assert not Record("1", "a/b", (Message("text", "x"), Message("user", "y"))).is_text


CALLS = {"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}


def test_whole_conversations_pass() -> None:
    check_messages([Message("旁白", ""), Message("assistant", None, 0.0, CALLS)])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Message("", "a"), "message 1 has no role"),
        (Message(3, "a"), "message 1 has no role"),  # type: ignore[arg-type]
        (Message("user", None), "message 1 .user. has no content"),
        (Message("user", 5), "message 1 .user. has no content"),  # type: ignore[arg-type]
        (Message("user", "a", -0.5), "the weight of message 1 is -0.5"),
        (Message("user", "a", float("nan")), "is nan"),
        (Message("user", "a", float("inf")), "is inf"),
        (Message("user", "a", extra={"loss": True}), "holds 'loss' in extra"),
    ],
)
def test_broken_conversations(message: Message, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        check_messages([message])
