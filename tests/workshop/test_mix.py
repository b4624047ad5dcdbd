"""Mixes: what is asked for, what is achieved, and which records are drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import DanluError
from danlu.workshop.operations.given import Scores
from danlu.workshop.operations.marks import marks_of_places
from danlu.workshop.operations.mix import Mix
from danlu.workshop.operations.shares import Targets, plan, take
from tests.workshop.likeness import quiet, record


def records_of(**counts):
    """So many records of each area; answers of 10 characters, of 40 in ``long``."""
    return [
        record(f"{area}{number}", "Why?", "x" * (40 if area == "long" else 10), f"{area}/s")
        for area, count in counts.items()
        for number in range(count)
    ]


def mixed(records, targets, **settings):
    decisions = Mix(targets, **{"by": "area", **settings}).decide(records, quiet)
    return [decision for decision in decisions if decision.entry.fate != "dropped"]


def areas(decisions):
    return Counter(decision.record.task_type.split("/")[0] for decision in decisions)


def test_counts():
    records = records_of(a=10, b=4, c=3)
    assert areas(mixed(records, {"a": 5, "b": 10}, repeats=3)) == {"a": 5, "b": 10, "c": 3}
    assert areas(mixed(records, {"a": 5, "b": 10})) == {"a": 5, "b": 4, "c": 3}
    assert areas(mixed(records, {"a": 0})) == {"b": 4, "c": 3}


def test_shares_and_the_rest():
    """A quarter of a needs 90 of the others for 30: all of both fits 30 and 90."""
    records = records_of(general=40, b=60, c=30)
    assert areas(mixed(records, {"general": 0.25})) == {"general": 30, "b": 60, "c": 30}
    assert areas(mixed(records, {"general": "50%"})) == {"general": 40, "b": 27, "c": 13}
    assert areas(mixed(records, {"general": 0.5}, total=20)) == {"general": 10, "b": 7, "c": 3}
    assert areas(mixed(records, {"general": 0.5}, repeats=2)) == {"general": 80, "b": 53, "c": 27}


def test_ratios():
    records = records_of(open=50, domain=30, other=7)
    found = areas(mixed(records, {"open:domain": "1:3"}))
    assert found == {"open": 10, "domain": 30, "other": 7}
    found = areas(mixed(records, {"open:domain": "1:3"}, repeats=5))
    assert found == {"open": 50, "domain": 150, "other": 7}
    found = areas(mixed(records, {"open:domain": "1:3"}, cap=15))
    assert found == {"open": 5, "domain": 15, "other": 7}


def test_shares_of_the_loss():
    """10 short answers of 10 characters are 100; 30 long ones of 40 are 1200, so 100 is 2 or 3."""
    records = records_of(long=30, short=10)
    mix = Mix({"long": 0.5, "short": 0.5}, by="area", unit="characters")
    rows = {row.name: row for row in mix.outcome(records)}
    assert (rows["short"].achieved, rows["short"].asked) == (100, 100)
    assert rows["long"].achieved in (80, 120)
    assert rows["long"].asked == 100
    up = Mix({"long": 0.5, "short": 0.5}, by="area", unit="characters", repeats=12)
    rows = {row.name: row for row in up.outcome(records)}
    assert (rows["short"].records, rows["short"].distinct, rows["short"].repeats) == (120, 10, 12)
    assert (rows["long"].achieved, rows["short"].achieved) == (1200, 1200)
    tokens = Scores({one.id: 4.0 if one.id.startswith("rlong") else 1.0 for one in records})
    by_tokens = Mix({"long": 0.5}, by="area", unit="tokens", tokens=tokens, repeats=12)
    assert {row.name: row.achieved for row in by_tokens.outcome(records)} == {
        "long": 120,
        "short": 120,
    }


def test_the_outcome_says_what_bounds_it():
    records = records_of(a=10, b=4)
    rows = Mix({"a": 5, "b": 10}, by="area", repeats=2, cap=6).outcome(records)
    assert [(row.name, row.asked, row.achieved, row.bound) for row in rows] == [
        ("a", 5, 5, ""),
        ("b", 10, 6, "cap 6"),
    ]
    assert [row.share for row in rows] == [5 / 11, 6 / 11]
    rows = Mix({"b": 10}, by="area", repeats=2).outcome(records)
    assert (rows[1].achieved, rows[1].repeats, rows[1].bound) == (8, 2, "repeats 2")


def test_repeated_records_have_ids_of_their_own():
    one, taken = record(1, "Why?", "So."), record("1#2", "How?", "So.")
    found = mixed([one, taken], {"a": 5}, repeats=3)
    ids = [decision.record.id for decision in found]
    assert len(set(ids)) == 5
    made = [decision for decision in found if decision.entry.fate == "made"]
    assert {decision.entry.rule for decision in made} == {"repeat"}
    for decision in made:
        assert decision.entry.partner in {"r1", "r1#2"}
        assert decision.record.id.startswith(f"{decision.entry.partner}#")
        assert decision.record.messages in (one.messages, taken.messages)


def test_by_task_type_and_source():
    records = [
        record(1, "x", task_type="a/b", source="data/alpaca.json"),
        record(2, "x", task_type="a/c", source="data/alpaca.json"),
        record(3, "x", task_type="a/c", source="more/own.jsonl"),
    ]
    assert len(mixed(records, {"a/c": 1}, by="task_type")) == 2
    assert [d.record.id for d in mixed(records, {"alpaca": 0}, by="source")] == ["r3"]
    assert [d.record.id for d in mixed(records, {"data/alpaca.json": 0}, by="source")] == ["r3"]


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 20), min_size=1),
    st.integers(0, 9),
    st.floats(0.1, 3),
)
def test_a_draw_changes_little_when_a_record_comes(counts, seed, times):
    """At most one record more or less of its group, and none of the others."""
    records = records_of(**counts)
    targets = {name: round(times * count) for name, count in counts.items()}
    settings = {"repeats": 9, "seed": seed}
    before = Counter(d.record.id for d in mixed(records, targets, **settings))
    area = min(counts)
    more = [*records, record(f"{area}new", "Why?", "x" * 10, f"{area}/s")]
    after = Counter(d.record.id for d in mixed(more, targets, **settings))
    if targets[area] <= counts[area]:
        gone, come = before - after, after - before
        assert gone.total() == come.total() <= 1
    assert areas(mixed(records, targets, **settings)) == Counter(
        {name: count for name, count in targets.items() if count}
    )


def test_seeds_and_order():
    records = records_of(a=40)
    drawn = [frozenset(d.record.id for d in mixed(records, {"a": 10}, seed=s)) for s in range(6)]
    assert len(set(drawn)) == 6
    again = mixed(records[::-1], {"a": 10}, seed=3)
    assert {d.record.id for d in again} == drawn[3]
    assert all(d.entry.fate in ("kept", "made") for d in again)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 1000), min_size=2),
    st.floats(0.05, 0.95),
    st.sampled_from([1.0, 2.5]),
    st.none() | st.floats(1, 5000),
)
def test_shares_of_a_plan(available, share, repeats, total):
    name = min(available)
    rows = {
        r.name: r
        for r in plan(available, Targets.parse({name: share}), repeats=repeats, total=total)
    }
    assert sum(row.asked for row in rows.values()) == pytest.approx(
        total or rows[name].asked / share
    )
    assert rows[name].asked == pytest.approx(share * sum(row.asked for row in rows.values()))
    assert all(row.planned <= repeats * row.available * (1 + 1e-9) for row in rows.values())
    if total is None:
        assert not any(row.bound for row in rows.values())
        # As much as is allowed: something is used up.
        assert max(row.times for row in rows.values()) == pytest.approx(repeats)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), min_size=1, max_size=40),
    st.lists(st.floats(0, 4), min_size=3, max_size=3),
    st.integers(0, 5),
)
def test_what_is_taken_comes_nearest(rows, times, epoch):
    group = np.array([one for one, _ in rows])
    amount = np.array([float(much) for _, much in rows])
    counts = take(np.array(times), group, amount, marks_of_places(len(rows), 0, epoch))
    for number, wanted in enumerate(times):
        own = group == number
        if own.any():
            assert set(counts[own].tolist()) <= {int(wanted + 1e-9), int(wanted + 1e-9) + 1}
            reached = float((counts * amount)[own].sum())
            assert abs(reached - wanted * amount[own].sum()) <= amount[own].max() / 2 + 1e-6


def test_another_draw_each_epoch():
    times, group, amount = np.array([0.3]), np.zeros(50, np.int64), np.ones(50)
    drawn = [take(times, group, amount, marks_of_places(50, 7, epoch)) for epoch in range(4)]
    assert all(one.sum() == 15 for one in drawn)
    assert len({tuple(one.tolist()) for one in drawn}) == 4


@pytest.mark.parametrize(
    ("targets", "settings", "reason"),
    [
        ({"a": 1.5}, {}, "a: the target is 1.5; it must be a count such as 500"),
        ({"a": -1}, {}, "a: the target is -1"),
        ({"a": "many"}, {}, "a: the target is 'many'"),
        ({"a": True}, {}, "a: the target is True"),
        ({"a:b": "1:2:3"}, {}, "a:b: the ratio is '1:2:3'; it must have a number above 0"),
        ({"a:b": "1:0"}, {}, "a number above 0 for each of a, b"),
        ({"a": 0.5, "b": 3}, {}, "cannot be asked for in one mix"),
        ({"a": 0.5, "b": 0.6}, {}, "the shares come to 1.1"),
        ({"a:b": "1:2", "b:c": "1:2"}, {}, "'b' is in more than one ratio"),
        ({"a": 0.5, "b": 0.5}, {}, "the shares leave nothing for c"),
        ({"a": 0.2, "b": 0.2, "c": 0.2}, {}, "the shares come to 0.6, and no other group"),
        ({"d": 3}, {}, "nothing is of 'd'"),
        ({"a": 3}, {"repeats": 0}, "repeats is 0; it must be above 0"),
        ({"a": 3}, {"total": 5}, "a total is for a mix of shares"),
    ],
)
def test_targets_that_cannot_be(targets, settings, reason):
    with pytest.raises(DanluError, match=reason):
        mixed(records_of(a=2, b=2, c=2), targets, **settings)
