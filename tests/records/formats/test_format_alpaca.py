from __future__ import annotations

import pytest

from danlu.errors import RecordError
from danlu.records import Message
from danlu.records.formats.alpaca import ALPACA


def test_instruction_and_output() -> None:
    row = {"instruction": "用一个词回答：天为什么是蓝的？", "output": "散射。", "input": ""}
    parts = ALPACA.parse(row)
    assert parts.messages == (
        Message("user", "用一个词回答：天为什么是蓝的？"),
        Message("assistant", "散射。"),
    )
    assert row == {}


def test_everything_in_a_row_in_order() -> None:
    row = {
        "instruction": "And this?",
        "input": "5 + 5",
        "output": "10",
        "system": "Add.",
        "history": [["2 + 2", "4"], ["3 + 3", "6"]],
        "level": 1,
    }
    assert ALPACA.parse(row).messages == (
        Message("system", "Add."),
        Message("user", "2 + 2"),
        Message("assistant", "4"),
        Message("user", "3 + 3"),
        Message("assistant", "6"),
        Message("user", "And this?\n5 + 5"),
        Message("assistant", "10"),
    )
    assert row == {"level": 1}


def test_nulls_and_json_text_as_tables_hold_them() -> None:
    row = {"instruction": "c", "input": None, "output": "d", "system": "", "history": '[["a","b"]]'}
    assert [message.content for message in ALPACA.parse(row).messages] == ["a", "b", "c", "d"]


def test_an_input_without_instruction_is_the_question() -> None:
    row = {"instruction": "", "input": "2 + 2 =", "output": "4"}
    assert ALPACA.parse(row).messages[0] == Message("user", "2 + 2 =")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "a"}, "the column 'output' is missing; the row has no other columns"),
        ({"instruction": "a", "output": None}, "'output' is null; it must be text"),
        ({"instruction": "a", "output": 4}, "'output' is a number"),
        ({"instruction": "a", "output": "b", "input": ["c"]}, "'input' is a list"),
        ({"instruction": "a", "output": "b", "history": [["c"]]}, "round 1 of 'history'"),
        ({"instruction": "a", "output": "b", "history": [["c", 1]]}, "round 1 of 'history'"),
        ({"instruction": "a", "output": "b", "history": {"c": "d"}}, "'history' is an object"),
        ({"instruction": "a", "output": "b", "history": "c: d"}, "text that is not JSON"),
    ],
)
def test_broken_rows(row: dict[str, object], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        ALPACA.parse(row)
