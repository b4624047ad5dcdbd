"""Novelty: right for Chinese, and the same as comparing everything with everything."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import DanluError
from danlu.records import Message, Record
from danlu.workshop.execution.executor import HERE
from danlu.workshop.likeness.greedy import keep_unlike
from danlu.workshop.likeness.rouge import AboveRouge, rouge_l, unit_bags
from danlu.workshop.likeness.text import fold, units
from danlu.workshop.likeness.tiles import keep_unlike_in_tiles
from danlu.workshop.operations.given import Pool
from danlu.workshop.operations.novelty import Novelty
from tests.workshop.likeness import kept_by_hand, longest_common, quiet, record


def decided(records, **settings):
    return [
        (entry.id, entry.fate, entry.value, entry.partner)
        for _, entry in Novelty(**settings).decide(records, quiet)
    ]


def f1(one, other):
    one, other = units(fold(one)), units(fold(other))
    if not one or not other:
        return 0.0
    return 2 * longest_common(one, other) / (len(one) + len(other))


def test_two_identical_chinese_sentences_are_alike():
    """The trap: with words found by whitespace and a-z the common ROUGE-L gives 0."""
    sentence = "请把下面的句子翻译成英文。"
    assert rouge_l(sentence, sentence) == 1.0
    assert decided([record(1, sentence), record(2, sentence)]) == [
        ("r1", "kept", None, None),
        ("r2", "dropped", 1.0, "r1"),
    ]


def test_by_hand():
    """LCS of 6 and 5 words is 5: 10/11. 请写一首关于春天的诗 and …秋天… share 9 of 10."""
    assert rouge_l("Write a poem about the sea", "write a poem about sea!") == 10 / 11
    assert rouge_l("请写一首关于春天的诗", "請寫一首關於秋天的詩") == 0.9
    assert rouge_l("", "a") == rouge_l("!!", "!!") == 0.0


def test_at_the_limit_it_is_still_new():
    """7 of 10 and 10 words in common: F1 is 0.7, and not above it."""
    one = record(1, "a b c d e f g h i j")
    other = record(2, "a b c d e f g x y z")
    assert [fate for _, fate, _, _ in decided([one, other])] == ["kept", "kept"]
    assert decided([one, other], limit=0.69)[1] == ("r2", "dropped", 0.7, "r1")


pieces = st.sampled_from(["a", "b", "c", "the", "写", "一", "首", "诗", " ", "!", "詩", "A"])
prompts = st.lists(st.lists(pieces, max_size=12).map(" ".join), min_size=1, max_size=20)


@given(prompts, st.sampled_from([0.2, 0.5, 0.7, 0.9]), st.integers(0, 5))
def test_equal_to_brute_force(texts, limit, given):
    given = min(given, len(texts))

    def alike(one, other):
        if not units(fold(texts[other])):
            return float(fold(texts[one]) == fold(texts[other]))
        return f1(texts[one], texts[other])

    by_hand = kept_by_hand(
        len(texts), lambda i, j: 0 if j < given else alike(i, j), lambda value: value > limit
    )
    ids = [f"r{number}" for number in range(len(texts))]
    pool = Pool(dict(zip(ids[:given], texts[:given], strict=True)))
    records = [record(number, text) for number, text in enumerate(texts)][given:]
    assert decided(records, limit=limit, pool=pool) == [
        (ids[number], "kept", None, None)
        if partner < 0
        else (ids[number], "dropped", value, ids[partner])
        for number, (partner, value) in enumerate(by_hand)
        if number >= given
    ]


def test_what_was_dropped_is_no_measure():
    """b is too like a, and goes; c is like b only, and stays."""
    texts = ["a b c d e f", "c d e f g h", "e f g h i j"]
    fates = [fate for _, fate, _, _ in decided(map(record, range(3), texts), limit=0.6)]
    assert fates == ["kept", "dropped", "kept"]


def test_robustness_stands_aside():
    clean, typo = "Tell me about the old town hall", "Tell me abuot the old town hall"
    variant = record(1, typo, tags=("robustness",))
    first, second = (entry for _, entry in Novelty().decide([variant, record(2, clean)], quiet))
    assert (first.fate, second.fate) == ("kept", "kept")
    _, second = (entry for _, entry in Novelty().decide([record(2, clean), variant], quiet))
    assert (second.fate, second.rule, second.partner) == ("kept", "novelty", "r2")
    assert second.value == 12 / 14
    assert second.detail == "kept by tag robustness"


def test_the_system_prompt_is_not_compared():
    system = Message("system", "You are a helpful assistant who knows much of everything there is")
    one = Record("1", "a/b", (system, Message("user", "Name a tree")))
    other = Record("2", "a/b", (system, Message("user", "Sing to me")))
    assert [fate for _, fate, _, _ in decided([one, other])] == ["kept", "kept"]


@pytest.mark.parametrize("limit", [0, 1, 1.5])
def test_a_limit_that_is_none(limit):
    with pytest.raises(DanluError, match="it must be between 0 and 1"):
        Novelty(limit=limit)


def test_a_copy_of_what_went_may_have_a_better_partner():
    """b c d e f is 4/5 like a b c d e, and 5/6 like b c d e f x y, which is new to it (4/6)."""
    texts = ["a b c d e", "b c d e f", "b c d e f x y", "b c d e f"]
    assert decided(map(record, range(4), texts)) == [
        ("r0", "kept", None, None),
        ("r1", "dropped", 0.8, "r0"),
        ("r2", "kept", None, None),
        ("r3", "dropped", 10 / 12, "r2"),
    ]


@given(prompts, st.sampled_from([0.2, 0.7]), st.integers(0, 5), st.integers(1, 9), st.data())
def test_in_tiles_it_is_the_same(texts, limit, given, part, data):
    given = min(given, len(texts))
    count = len(texts)
    aside = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_)
    aside[:given] = False
    bags = unit_bags([units(fold(text)) for text in texts])
    finding = partial(AboveRouge, limit=limit)
    plain = keep_unlike(count, [finding(bags)], aside=aside, given=given)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("danlu.workshop.likeness.tiles.PART", part)
        tiled = keep_unlike_in_tiles(bags, finding, HERE, aside=aside, given=given)
    for one, other in zip(plain, tiled, strict=True):
        assert one.tolist() == other.tolist()
