from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from danlu.errors import RecordError
from danlu.records import json_rows
from danlu.records.json_rows import RawRow, line_rows, value_rows

# A shared machine or a slow disk is no fault: no deadline, and no check of how fast examples come.
patient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def values(text: str | bytes) -> list[RawRow]:
    data = text.encode() if isinstance(text, str) else text
    return list(value_rows(io.BytesIO(data), "x.json"))


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "WINDOW_BYTES", 3)


@pytest.mark.usefixtures("small_window")
def test_lines_and_texts_of_rows() -> None:
    text = '\n[\r\n {"a": "好"},\n{"b":\n 1},  3\n, "x", 25, null]\n\n'
    assert values(text) == [
        RawRow(3, {"a": "好"}, None, '{"a": "好"}'),
        RawRow(4, {"b": 1}, None, '{"b":\n 1}'),
        RawRow(5, 3, None, "3"),
        RawRow(6, "x", None, '"x"'),
        RawRow(6, 25, None, "25"),
        RawRow(6, None, None, "null"),
    ]


@pytest.mark.parametrize("text", ["[]", " [ ] \n", "", "\n \n"])
def test_nothing(text: str) -> None:
    assert values(text) == []


@patient
@given(
    rows=st.lists(json_values, max_size=6),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
    window=st.integers(1, 40),
)
def test_any_array_comes_out_whole_whatever_the_window(
    rows: list[Any], indent: int | None, ascii_only: bool, window: int
) -> None:
    """A window of a few bytes cuts strings, numbers, escapes and characters in two."""
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "WINDOW_BYTES", window)
        assert [row.value for row in values(text)] == rows
        spaced = "\n".join(json.dumps(row, indent=indent, ensure_ascii=ascii_only) for row in rows)
        if not spaced.startswith("["):
            assert [row.value for row in values(spaced)] == rows


@patient
@given(
    rows=st.lists(st.dictionaries(st.text(), json_values, max_size=3), min_size=1, max_size=3),
    data=st.data(),
)
def test_a_torn_array_is_an_error_wherever_it_is_torn(rows: list[Any], data: st.DataObject) -> None:
    text = json.dumps(rows)
    end = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(RecordError, match=r"x\.json:1: "):
        values(text[:end])


@pytest.mark.usefixtures("small_window")
@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[\n{"a": 1}\n{"b": 2}]', 3, "a comma or the closing bracket"),
        ('[{"a": 1}', 1, "closing bracket of the array is missing; the file ends there"),
        ('[{"a": 1},\n', 2, "the file ends inside the row"),
        ('[\n{"a": 1,\n"b', 2, "the file ends inside the row that begins here"),
        ('[{"a": 1}]\n{}', 2, "something stands after the closing bracket"),
        ('[{"a": 1,\n b: 2}, {"a": 1}, {"a": 1}]', 2, "expecting property name"),
        ('[{"a": 1},]', 1, "expecting value"),
        ('[{"a": tru}]', 1, "expecting value"),
        ('[{"a": "line\nbreak in a text that is long enough"}]', 1, "invalid control character"),
        ('[{"a": Infinity}]', 1, "Infinity is not a number that JSON has"),
        ('[{"a": 1' + "0" * 5000 + "}]", 1, "integer string conversion"),
    ],
)
def test_faults_of_syntax_stop_with_their_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        values(text)
    assert caught.value.where == f"x.json:{line}"
    assert reason in caught.value.message
    assert "write one object a line (JSONL)" in caught.value.message


@pytest.mark.usefixtures("small_window")
def test_a_byte_that_is_not_utf8_has_its_line() -> None:
    """GBK's 中 is D6 D0, of which D6 begins a UTF-8 character that D0 does not go on."""
    with pytest.raises(RecordError, match=r"x\.json:3: byte 0xD6 is not UTF-8.*iconv -f GBK"):
        values(b'[\n{"a": 1},\n{"a": "' + "中".encode("gbk") + b'"}\n]')


def test_nesting_beyond_reason() -> None:
    with pytest.raises(RecordError, match="nested too deeply"):
        values("[" * 200_000)
    [row] = line_rows(enumerate([b'{"a": ' + b"[" * 200_000], start=1))
    assert row.fault == "nested too deeply"


def test_a_row_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "LONGEST_ROW", 1000)
    monkeypatch.setattr(json_rows, "WINDOW_BYTES", 100)
    with pytest.raises(RecordError, match=r"x\.json:2: the row that begins here does not end"):
        values('[\n{"a": "' + "b" * 5000)


class Endless(io.RawIOBase):
    """A JSON array of 64 MB that is made while it is read."""

    def __init__(self, rows: int) -> None:
        self._parts = self._make(rows)
        self._rest = b""

    def _make(self, rows: int) -> Iterator[bytes]:
        yield b"["
        row = json.dumps({"instruction": "q" * 8000, "output": "答" * 64}).encode()
        for _ in range(rows - 1):
            yield row + b",\n"
        yield row + b"]"

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (part := next(self._parts, b"")):
            self._rest += part
        given, self._rest = self._rest[:size], self._rest[size:]
        return given


def test_a_huge_array_takes_little_memory() -> None:
    """The peak is a few windows of 1 MiB, for an array of 64 MiB."""
    tracemalloc.start()
    try:
        count = sum(1 for _ in value_rows(cast(Any, Endless(8000)), "x.json"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 8000
    assert peak < 8 << 20


def test_lines_with_faults_are_told_and_gone_past() -> None:
    lines = [b'{"a": 1}\r\n', b"\n", b"{'a': 1}\n", b'{"a": "\xd6\xd0"}\n', b'{"a": NaN}', b"[1"]
    rows = list(line_rows(enumerate(lines, start=1)))
    assert [row.line for row in rows] == [1, 3, 4, 5, 6]
    assert rows[0] == RawRow(1, {"a": 1}, None, '{"a": 1}')
    assert rows[1].fault is not None
    assert "expecting property name" in rows[1].fault
    assert rows[1].text == "{'a': 1}"
    assert rows[2].fault is not None
    assert "byte 0xD6 is not UTF-8" in rows[2].fault
    assert rows[3].value == {"a": None}
    assert rows[4].fault is not None
