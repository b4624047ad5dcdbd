"""Two answers beside one another: rows that never change, wide characters that line up."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from danlu.errors import ModelError
from danlu.serving.beside import BETWEEN, Columns, Wrapped, interleaved

TEXTS = st.text(alphabet="ab 丹炉。\n,x", max_size=80)


@given(TEXTS, st.integers(2, 12), st.data())
def test_rows_fit_hold_everything_and_depend_on_no_cut(text, width, data):
    """However the text comes in pieces, the rows are the same, and all of it is in them."""
    cut = data.draw(st.integers(0, len(text)))
    pieces = Wrapped(width)
    rows = pieces.push(text[:cut]) + pieces.push(text[cut:]) + pieces.finish()
    whole = Wrapped(width)
    assert rows == whole.push(text) + whole.finish()
    assert all(cell_len(row) <= width for row in rows)
    assert "".join("".join(rows).split()) == "".join(text.split())


def test_words_stay_whole_and_chinese_is_cut_anywhere():
    rows = Wrapped(9)
    assert rows.push("the furnace 炉火纯青，is hot") == ["the", "furnace", "炉火纯青"]
    assert rows.finish() == ["，is hot"]
    long = Wrapped(4)
    assert long.push("abcdefghij") + long.finish() == ["abcd", "efgh", "ij"]


def test_columns_line_up_with_wide_characters():
    columns = Columns(["丹炉", "base"], 23)
    lines = columns.head()
    lines += columns.push(0, "我叫丹炉，是一个语言模型。\n")
    assert len(lines) == 2  # nothing is known of the right column yet
    lines += columns.push(1, "I am a model of language.")
    lines += columns.push(0, None) + columns.push(1, None)
    assert lines == [
        "丹炉       │ base",
        "──────────" + "─┼─" + "──────────",
        "我叫丹炉， │ I am a",
        "是一个语言 │ model of",
        "模型。     │ language.",
    ]
    places = {cell_len(line[: line.index(BETWEEN)]) for line in lines if BETWEEN in line}
    assert places == {10}


def words(*said, gate=None):
    for word in said:
        if gate is not None:
            assert gate.wait(20)
        yield word


def test_answers_are_drawn_at_the_same_time():
    """The first waits for the second: one after the other they would never end."""
    gate = threading.Event()

    def second():
        yield "b"
        gate.set()

    seen = list(interleaved([words("a", gate=gate), second()]))
    assert sorted(seen, key=str) == [(0, "a"), (0, None), (1, "b"), (1, None)]


def test_one_that_fails_stops_no_other():
    def failing():
        yield "a"
        raise ModelError("the context is full")

    seen = []
    pieces = interleaved([failing(), words("x", "y")])
    with pytest.raises(ModelError, match="context is full"):
        seen.extend(pieces)
    assert [piece for index, piece in seen if index == 1] == ["x", "y", None]


def test_leaving_ends_the_threads():
    def endless():
        while True:
            time.sleep(0.001)
            yield "x"

    before = threading.active_count()
    pieces = interleaved([endless(), endless()])
    next(pieces)
    pieces.close()
    assert threading.active_count() == before
