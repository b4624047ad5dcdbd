from __future__ import annotations

import pytest

from danlu.errors import RecordError
from danlu.records import Message, Response
from danlu.records.formats.danlu import DANLU


def test_everything_of_a_record() -> None:
    row = {
        "messages": [
            {"role": "user", "content": "介绍一下你自己。"},
            {"role": "assistant", "content": "我是丹炉。", "weight": 2.0},
        ],
        "tools": [{"type": "function", "function": {"name": "now"}}],
        "responses": [
            {"content": "a", "rank": 1, "score": 0.5},
            {"content": "b", "label": False},
        ],
        "source": "chat.jsonl",
        "meta": {"lang": "zh"},
        "note": "x",
    }
    parts = DANLU.parse(row)
    assert parts.messages == (
        Message("user", "介绍一下你自己。"),
        Message("assistant", "我是丹炉。", 2.0),
    )
    assert parts.tools == ({"type": "function", "function": {"name": "now"}},)
    assert parts.responses == (Response("a", 1, 0.5, None), Response("b", None, None, False))
    assert parts.source == "chat.jsonl"
    assert parts.meta == {"lang": "zh"}
    assert row == {"note": "x"}


MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"source": 3}, "'source' is a number"),
        ({"meta": []}, "'meta' is a list"),
        ({"responses": ["a"]}, "response 1 must be an object with a text 'content'"),
        ({"responses": [{"content": "a", "stars": 3}]}, "response 1 has 'stars'"),
        ({"responses": [{"content": "a", "rank": 0}]}, "'rank' of response 1 is 0"),
        ({"responses": [{"content": "a", "rank": True}]}, "'rank' of response 1 is True"),
        ({"responses": [{"content": "a", "score": "7"}]}, "score of response 1 is '7'"),
        ({"responses": [{"content": "a", "label": 1}]}, "'label' of response 1 is 1"),
    ],
)
def test_broken_records(columns: dict[str, object], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        DANLU.parse({"messages": MESSAGES, **columns})
