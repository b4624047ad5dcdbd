from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.sequences.branch import Branch
from danlu.sequences.filling import fill
from danlu.sequences.forest import build_packs


def branches_of(texts: list[list[int]]) -> list[Branch]:
    return [
        Branch(np.array(text, np.int32), np.ones(len(text), np.float32), number, 0, 0, 0)
        for number, text in enumerate(texts)
    ]


def unique_tokens(texts: list[list[int]]) -> int:
    """Count the nodes of the trie, the slow way."""
    return len({tuple(text[:end]) for text in texts for end in range(1, len(text) + 1)})


def test_packs_are_as_few_as_hold_the_branches():
    # One after another these need four packs of 10: 6 | 6, 4 | 4 would not fit with the next.
    assert fill([6, 7, 3, 4], [0, 0, 0, 0], [True] * 4, 10) == [[1, 2], [0, 3]]
    assert len(fill([6, 6, 6, 4, 4, 4], [0] * 6, [True] * 6, 10)) == 3


def test_packs_are_of_one_size_where_the_last_would_be_small():
    packs = fill([3] * 8, [0] * 8, [True] * 8, 21)
    assert sorted(map(len, packs)) == [4, 4]


def test_a_long_shared_prefix_stays_in_one_pack():
    # Two trees of three branches, each sharing 50 tokens of 60.
    packs = fill([60] * 6, [0, 50, 50, 0, 50, 50], [True] * 6, 100)
    assert sorted(packs) == [[0, 1, 2], [3, 4, 5]]


def test_what_may_not_be_cut_is_longer_than_the_limit():
    packs = fill([8, 8, 3], [0, 0, 0], [True, False, True], 10)
    assert sorted(packs) == [[0, 1], [2]]


def test_as_many_packs_as_devices_where_there_are_branches():
    assert len(fill([4] * 6, [0] * 6, [True] * 6, 100, parts=3)) == 3
    assert len(fill([4] * 2, [0] * 2, [True] * 2, 100, parts=3)) == 2


def test_no_branches_no_packs():
    assert fill([], [], [], 10) == []


TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(1, 25), st.integers(1, 4))
def test_every_branch_is_in_one_pack_whose_size_is_that_of_its_trie(texts, limit, parts):
    branches = branches_of(texts)
    packs = build_packs(branches, limit, parts=parts)
    members = [list(pack.members) for pack in packs]
    assert sorted(index for one in members for index in one) == list(range(len(texts)))
    for pack, indices in zip(packs, members, strict=True):
        own = [texts[index] for index in indices]
        assert pack.tokens == unique_tokens(own)
        assert pack.tokens <= max(limit, max(map(len, texts)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(30, 90))
def test_never_more_packs_than_one_after_another_and_none_much_emptier(lengths, limit):
    begins = [True] * len(lengths)
    shared = [0] * len(lengths)
    packs = fill(lengths, shared, begins, limit)
    sizes = [sum(lengths[place] for place in pack) for pack in packs]
    assert max(sizes) <= limit
    in_order, size = 1, 0
    for length in lengths:
        if size + length > limit:
            in_order, size = in_order + 1, 0
        size += length
    assert len(packs) <= in_order
    # The largest unit first, to the emptiest: no pack is behind another by more than one unit.
    if len(packs) > 1:
        assert max(sizes) - min(sizes) <= max(lengths)
    assert all(sorted(pack) == pack for pack in packs)
    assert all(one < two for pack in packs for one, two in pairwise(pack))


@pytest.mark.parametrize("limit", [40, 64, 100])
def test_filling_is_the_same_each_time(limit):
    generator = np.random.default_rng(0)
    texts = [list(generator.integers(0, 3, generator.integers(5, 30))) for _ in range(40)]
    first = [pack.members.tolist() for pack in build_packs(branches_of(texts), limit)]
    again = [pack.members.tolist() for pack in build_packs(branches_of(texts), limit)]
    assert first == again
