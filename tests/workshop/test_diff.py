"""Differences by hand: records, and shares of text and of loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.records import Message, Record, Response
from danlu.workshop.operations.diff import WEIGHTINGS, Weighting, diff, shares, text_and_weight
from tests.workshop.making import chat

A = [
    chat("1", "ab", "cdef", "a/a"),  # length 6, learned 4
    chat("2", "ab", "cd", "a/a"),  # length 4, learned 2
    chat("3", "ab", "cdef", "b/b"),
]
B = [
    A[0],
    chat("2", "ab", "CD", "a/a"),
    replace(A[2], task_type="a/a"),
    chat("4", "x" * 10, "y" * 90, "c/c"),
]


def test_counts() -> None:
    found = diff(A, B)
    told = {
        name: (one.added, one.removed, one.changed, one.retyped)
        for name, one in found.task_types.items()
    }
    assert told == {"a/a": (0, 0, 1, 1), "b/b": (0, 0, 0, 0), "c/c": (1, 0, 0, 0)}
    back = diff(B, A).task_types
    assert (back["c/c"].removed, back["b/b"].retyped) == (1, 1)
    assert (found.before.records, found.after.records) == (3, 4)


def test_where_a_record_came_from_is_no_difference() -> None:
    found = diff(A, [replace(record, source="elsewhere") for record in A])
    assert all(not one.changed for one in found.task_types.values())
    tagged = diff(A, [replace(record, tags=("x",)) for record in A])
    assert sum(one.changed for one in tagged.task_types.values()) == 3


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [("token", 6 / 10), ("record", 2 / 3), ("turn", 2 / 3), ("task_type", 1 / 2)],
)
def test_share_of_the_loss(weighting: Weighting, expected: float) -> None:
    found = diff(A, B, weighting=weighting)
    part = found.task_types["a/a"].before
    assert shares(part, found.before) == {
        "record_share": pytest.approx(2 / 3),
        "length_share": pytest.approx(10 / 16),
        "loss_share": pytest.approx(expected),
    }
    assert found.task_types["c/c"].before.loss == 0


def test_what_is_learned() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    record = Record(
        "1",
        "a/b",
        (
            Message("system", "s"),
            Message("user", "u"),
            Message("assistant", None, 0.5, {"tool_calls": [call]}),
            Message("assistant", "a", 0.0),
        ),
        tools=({"x": 1},),
    )
    texts = text_and_weight(record)
    assert [weight for _, weight in texts] == [None, None, None, 0.5, 0.0]
    assert texts[3][0].startswith('[{"type": "function"')
    ranked = Record(
        "1", "a/b", (Message("user", "p"),), responses=(Response("x", 1), Response("y", 2))
    )
    assert text_and_weight(ranked) == [("p", None), ("x", 1.0), ("y", 1.0)]
    assert text_and_weight(Record("1", "a/b", (Message("text", "t"),))) == [("t", 1.0)]


def test_lengths_are_measured_in_batches() -> None:
    calls: list[int] = []

    def words(texts: Sequence[str]) -> list[int]:
        calls.append(len(texts))
        return [len(text.split()) for text in texts]

    records = [chat(str(number), "a b c", "d e") for number in range(300)]
    found = diff(records, [], measure=words)
    assert calls == [512, 88]
    assert found.before.length == 300 * 5
    assert found.before.loss == 300 * 2
    assert found.task_types["a/b"].removed == 300


@given(st.lists(st.integers(0, 5), max_size=6), st.sampled_from(WEIGHTINGS))
def test_shares_add_up(numbers: list[int], weighting: Weighting) -> None:
    records = [chat(str(k), "p", "a" * n, f"a/t{n % 3}") for k, n in enumerate(numbers)]
    found = diff(records, records, weighting=weighting)
    for name in ("record_share", "length_share", "loss_share"):
        total = sum(shares(one.after, found.after)[name] for one in found.task_types.values())
        assert total == pytest.approx(1.0) or total == 0.0
    assert not any(
        one.added or one.removed or one.changed or one.retyped for one in found.task_types.values()
    )
