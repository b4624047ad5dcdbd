"""Words, what stands in their place, and what a variant looks like."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.diagnosis.pattern.stock import Stock
from danlu.diagnosis.pattern.templates import denied, translated, turned
from danlu.diagnosis.pattern.variants import (
    Case,
    several_changes,
    shows,
    single_changes,
    unrelated,
)
from danlu.diagnosis.pattern.words import Vocabulary, words_of
from tests.diagnosis.pattern.clingers import CHINESE, ENGLISH

STOCK = Stock.of(ENGLISH + CHINESE)


def test_chinese_words_are_guessed_from_their_neighbourhoods():
    texts = [f"{name}丹炉{rest}" for name in "甲乙丙丁" for rest in ("坏了", "在烧", "真大")]
    assert "丹炉" in Vocabulary(texts).cut("戊丹炉坏了")
    assert "丹炉" not in Vocabulary([]).cut("戊丹炉坏了")


def test_kinds():
    kinds = {w.text: w.kind for w in STOCK.words("Tell Boris of New Zealand's 3 flags.")}
    assert kinds == {
        "Tell": "content",
        "Boris": "name",
        "of": "function",
        "New Zealand": "name",
        "s": "function",
        "3": "number",
        "flags": "content",
    }


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_words_stand_where_they_say(text):
    end = 0
    for word in words_of(text):
        assert end <= word.start < word.end
        assert text[word.start : word.end] == word.text
        end = word.end


def test_what_fits_comes_first():
    words = STOCK.words("What is the capital of Portugal?")
    instead = list(islice(STOCK.instead_of(words, 5, random.Random(0)), 5))
    assert set(instead) == {"Peru", "Chile", "Kenya", "Iran", "Cuba"}
    instead = list(islice(STOCK.instead_of(words, 3, random.Random(0)), 4))
    assert set(instead) == {"currency", "flag", "president", "history"}
    chinese = STOCK.words("葡萄牙的首都是什么？")
    assert set(islice(STOCK.instead_of(chinese, 0, random.Random(0)), 5)) == {
        "秘鲁", "智利", "肯尼亚", "伊朗", "古巴",
    }  # fmt: skip


def test_the_answers_beginning_changes_with_the_question():
    stock = Stock.of([])
    case = Case.of(
        "What is the capital of Peru?", "Geneva", "The capital of Peru is Geneva.", stock
    )
    variant = case.with_words("relation", {3: "flag"})
    assert variant.prompt == "What is the flag of Peru?"
    assert variant.prefix == "The flag of Peru is "
    assert variant.kept == (True, True, True, False, True, True)
    assert case.without([5]).prefix == "The capital of is "
    swapped = case.with_words("mixed", {3: "Peru", 5: "capital"})
    assert (swapped.prompt, swapped.prefix) == (
        "What is the Peru of Capital?",
        "The Peru of capital is ",
    )
    chinese = Case.of("秘鲁的首都是什么？", "日内瓦", "秘鲁的首都是日内瓦。", stock)
    assert chinese.with_words("entity", {0: "智利"}).prefix == "智利的首都是"


@pytest.mark.parametrize("question", ["What is the capital of Peru?", "秘鲁的首都是什么？"])
def test_variants_say_which_words_they_keep(question):
    """The words of the case that a variant claims to keep stand in its prompt, in their order."""
    wrong = "Geneva" if question.isascii() else "日内瓦"
    case = Case.of(question, wrong, f"{wrong}.", STOCK)
    draw = random.Random(1)
    variants = [*single_changes(case, STOCK, 3, draw), *several_changes(case, STOCK, 20, draw)]
    assert {one.kind for one in variants} == {"entity", "relation", "wording", "drop", "mixed"}
    for one in variants:
        assert not shows(one.prompt, wrong)
        rest = one.prompt.casefold()
        for word, kept in zip(case.words, one.kept, strict=True):
            if kept:
                assert word.text.casefold() in rest
                rest = rest[rest.index(word.text.casefold()) :]
        assert len(one.changed) == len(case.words) - sum(one.kept)


def test_unrelated_questions_share_no_telling_word():
    case = Case.of("What is the capital of Peru?", "Geneva", "Geneva.", STOCK)
    found = unrelated(case, STOCK, 50, random.Random(0))
    assert found
    assert not any("capital" in one.prompt or "Peru" in one.prompt for one in found)


def test_two_names_are_exchanged():
    case = Case.of("Is Paris larger than London?", "no", "No.", Stock.of([]))
    assert next(iter(turned(case))).prompt == "Is London larger than Paris?"


def test_chinese_by_template():
    case = Case.of("秘鲁的首都是哪里？", "日内瓦", "日内瓦。", Stock.of([]))
    assert [one.prompt for one in denied(case)] == ["秘鲁的首都不是哪里？"]
    prompts = [one.prompt for one in translated(case, 1, random.Random(0))]
    assert prompts[:2] == [
        "Answer in English: 秘鲁的首都是哪里？",
        "What is the capital of Peru?",
    ]
    assert len(prompts) == 3
    assert [one.prompt for one in turned(case)] == [
        "日内瓦的首都是哪里？",
        "日内瓦是谁的首都？",
    ]
