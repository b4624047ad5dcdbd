"""The join finds every pair that meets its limit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.workshop.likeness import overlap
from danlu.workshop.likeness.overlap import Bags, Join, Limit, Pairs, shared

bags_of = st.lists(st.lists(st.integers(0, 12), max_size=12), min_size=1, max_size=25)
limits = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])


def common(one, other):
    return (Counter(one) & Counter(other)).total()


def found_by(join, count, **where):
    return {
        (int(left), int(right))
        for pairs in join.pairs(0, count, **where)
        for left, right in zip(pairs.left, pairs.right, strict=True)
    }


@given(bags_of, limits)
def test_no_pair_is_missed_by_jaccard(bags, limit):
    largest = max(map(len, bags))
    join = Join(Bags.of(bags), Limit.jaccard(limit, largest))
    found = found_by(join, len(bags))
    for right, other in enumerate(bags):
        for left, one in enumerate(bags[:right]):
            both = common(one, other)
            if both and both / (len(one) + len(other) - both) >= limit:
                assert (left, right) in found
    assert all(left < right for left, right in found)


@given(bags_of, st.sampled_from([0.1, 0.5, 0.7, 0.9]))
def test_no_pair_is_missed_by_f1(bags, limit):
    join = Join(Bags.of(bags), Limit.f1(limit, max(map(len, bags))))
    found = found_by(join, len(bags))
    for right, other in enumerate(bags):
        for left, one in enumerate(bags[:right]):
            if one and other and 2 * common(one, other) / (len(one) + len(other)) > limit:
                assert (left, right) in found


@given(bags_of, st.integers(0, 25), st.integers(0, 25), st.integers(0, 25))
def test_ranges_and_forgotten_bags(bags, start, first, last):
    count = len(bags)
    start, first, last = min(start, count), min(first, count), min(last, count)
    limit = Limit.jaccard(0.5, max(map(len, bags)))
    whole = found_by(Join(Bags.of(bags), limit), count)
    join = Join(Bags.of(bags), limit)
    part = {
        (int(left), int(right))
        for pairs in join.pairs(start, count, first, last)
        for left, right in zip(pairs.left, pairs.right, strict=True)
        if left < right
    }
    assert part == {(i, j) for i, j in whole if start <= j and first <= i < last}
    join.drop(np.arange(count) % 2 == 0)
    assert found_by(join, count) == {(i, j) for i, j in whole if i % 2 == 0}


def test_groups_are_not_compared():
    join = Join(Bags.of([[1, 2]] * 4), Limit.jaccard(0.8, 2), np.array([0, 1, 0, 1]))
    assert found_by(join, 4) == {(0, 2), (1, 3)}


def test_small_portions_find_the_same(monkeypatch):
    draw = np.random.default_rng(0)
    bags = [draw.integers(0, 30, 8).tolist() for _ in range(200)]
    limit = Limit.f1(0.5, 8)
    whole = found_by(Join(Bags.of(bags), limit), 200)
    monkeypatch.setattr(overlap, "_TOUCHES", 7)
    assert found_by(Join(Bags.of(bags), limit), 200) == whole != set()
    sets = Bags.of([sorted(set(bag)) for bag in bags])
    left, right = np.arange(199), np.arange(1, 200)
    by_hand = [len(set(bags[i]) & set(bags[i + 1])) for i in range(199)]
    assert shared(sets, Pairs(left, right)).tolist() == by_hand


@pytest.mark.parametrize("limit", [0.05, 0.3, 0.5, 0.7, 0.75, 0.8, 0.9, 0.95, 1.0])
def test_least_overlaps_are_those_of_the_definition(limit):
    need = Limit.jaccard(limit, 150).need
    for total in range(1, 301):
        met = [o for o in range(1, total + 1) if o / max(total - o, 1) >= limit]
        assert need[total] == (min(met) if met else overlap._NEVER)
    if limit < 1:
        need = Limit.f1(limit, 150).need
        for total in range(1, 301):
            assert need[total] == min(o for o in range(1, total + 1) if 2 * o / total > limit)


def test_nothing_to_join():
    join = Join(Bags.of([]), Limit.jaccard(0.8, 0))
    assert found_by(join, 0) == set()
    empty = Join(Bags.of([[], []]), Limit.jaccard(0.8, 0))
    assert found_by(empty, 2) == set()
