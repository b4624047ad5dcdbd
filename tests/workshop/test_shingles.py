"""Shingles, and near-duplicates against all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import DanluError
from danlu.workshop.likeness import greedy, shingles
from danlu.workshop.likeness.greedy import keep_unlike
from danlu.workshop.likeness.near import near_groups
from danlu.workshop.likeness.overlap import Pairs
from danlu.workshop.likeness.shingles import jaccard, near_texts, shingle_sets, text_jaccard
from tests.workshop.likeness import kept_by_hand, shingle_jaccard


@st.composite
def families(draw):
    """Texts of all lengths, most of them with variants: one character exchanged, gone, or new."""
    texts = []
    for _ in range(draw(st.integers(1, 6))):
        length = draw(st.sampled_from([1, 4, 5, 9, 28, 29, 30, 33, 60, 198, 201, 206]))
        alphabet = draw(st.sampled_from(["ab", "abcdefgh", "今天气很好我们去北京吧"]))
        text = "".join(draw(st.sampled_from(alphabet)) for _ in range(length))
        texts.append(text)
        for _ in range(draw(st.integers(0, 4))):
            place = draw(st.integers(0, len(text)))
            other = draw(st.sampled_from(["", "x", "我"]))
            text = text[:place] + other + text[place + draw(st.integers(0, 2)) :]
            texts.append(text)
    return list(dict.fromkeys(draw(st.permutations(texts))))


@given(families(), st.sampled_from([0.3, 0.6, 0.8, 0.9, 1.0]))
def test_near_duplicates_are_those_of_all_pairs(texts, limit):
    by_hand = kept_by_hand(
        len(texts),
        lambda one, other: shingle_jaccard(texts[one], texts[other]),
        lambda value: value >= limit,
    )
    found = keep_unlike(len(texts), near_texts(texts, limit))
    assert list(zip(found.partner.tolist(), found.value.tolist(), strict=True)) == by_hand
    assert found.kept.tolist() == [partner < 0 for partner, _ in by_hand]


@given(families(), st.sampled_from([0.5, 0.8]))
def test_groups_hold_every_near_pair(texts, limit):
    group = near_groups(texts, limit).tolist()
    assert all(group[number] <= number for number in range(len(texts)))
    # The finest grouping that no near pair crosses, by repeated merging.
    by_hand = list(range(len(texts)))
    for right, text in enumerate(texts):
        for left in range(right):
            if shingle_jaccard(texts[left], text) >= limit:
                low, high = sorted((by_hand[left], by_hand[right]))
                by_hand = [low if number == high else number for number in by_hand]
    assert group == by_hand


def test_blocks_give_the_same(monkeypatch):
    draw = np.random.default_rng(1)
    texts = ["".join(draw.choice(list("abc"), 7)) for _ in range(300)]
    texts = list(dict.fromkeys(texts))
    whole = keep_unlike(len(texts), near_texts(texts, 0.5))
    groups = near_groups(texts, 0.5).tolist()
    monkeypatch.setattr(greedy, "_FIRST_BLOCK", 3)
    monkeypatch.setattr(greedy, "_LARGEST_BLOCK", 11)
    small = keep_unlike(len(texts), near_texts(texts, 0.5))
    assert small.partner.tolist() == whole.partner.tolist()
    assert 0 < int(whole.kept.sum()) < len(texts)
    assert near_groups(texts, 0.5).tolist() == groups


@given(st.lists(st.text(max_size=40), min_size=2, max_size=6))
def test_pairs_of_texts(texts):
    left = np.array([i for i in range(len(texts)) for _ in range(len(texts))])
    right = np.array(list(range(len(texts))) * len(texts))
    found = text_jaccard(texts, Pairs(left, right)).tolist()
    by_hand = [shingle_jaccard(texts[i], texts[j]) for i, j in zip(left, right, strict=True)]
    assert found == by_hand


@pytest.mark.parametrize("wide", [1 << 40, 1])
@pytest.mark.parametrize("length", [2, 3, 5])
def test_sets_of_shingles_by_hand(length, wide, monkeypatch):
    """Also where shingles are counted off because their numbers would be too large."""
    monkeypatch.setattr(shingles, "_DENSE_ABOVE", wide)
    texts = ["abracadabra", "", "abra", "大家好大家好", "𠮷野家 ab"]
    bags = shingle_sets(texts, length)
    sets = [{t[i : i + length] for i in range(len(t) - length + 1)} for t in texts]
    assert bags.sizes.tolist() == [len(own) for own in sets]
    pairs = Pairs(np.array([0, 0, 2]), np.array([2, 3, 0]))
    if length < 5:
        by_hand = [len(sets[0] & sets[2]) / len(sets[0] | sets[2]), 0.0]
        assert jaccard(bags, pairs).tolist() == [*by_hand, by_hand[0]]


def test_more_characters_than_fit_into_one_number():
    """5 of 8000 different characters do not fit into 63 bits."""
    many = "".join(chr(0x4E00 + number) for number in range(8000))
    texts = [many, many[:4000] + "x" + many[4000:], many[::-1]]
    bags = shingle_sets(texts, 5)
    assert bags.sizes.tolist() == [7996, 7997, 7996]
    value = jaccard(bags, Pairs(np.array([0, 0]), np.array([1, 2]))).tolist()
    assert value == [shingle_jaccard(texts[0], texts[1]), 0.0]


def test_folding_and_short_texts_in_groups():
    assert near_groups(["是", "否", "對", "对", "否"], 0.1).tolist() == [0, 1, 2, 2, 1]
    assert near_groups([], 0.8).tolist() == []


@pytest.mark.parametrize("limit", [0, -0.1, 1.01])
def test_a_limit_that_is_none(limit):
    with pytest.raises(DanluError, match="it must be above 0 and at most 1"):
        near_groups(["a"], limit)
