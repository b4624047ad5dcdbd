"""What a summary has that its text has not."""

import pytest

from danlu.workshop.produce.faithful import (
    copied_share,
    names_without_source,
    numbers_without_source,
)

ENGLISH = (
    "Farmers in Germany grew 1,200 tonnes of hops for the Finns. Two mills, run by Anna Krause, "
    "dried them near Ulm."
)
CHINESE = "苏州市的三家工厂用 Python 记录温度，全年 1200 次，王芳教授读了《天工开物》。"


@pytest.mark.parametrize(
    ("text", "source", "names"),
    [
        ("The German mills near Ulm dried hops.", ENGLISH, []),
        ("A Finn bought hops. Anna sold them.", ENGLISH, []),
        ("Hops went to Poland, says Anna Krause.", ENGLISH, ["Poland"]),
        ("The EU paid. NATO did not.", ENGLISH, ["EU", "NATO"]),
        # What begins a sentence may be any word, and is not held against the text.
        ("Poland bought hops.", ENGLISH, []),
        ("Then O'Brien-Smith came.", ENGLISH, ["O'Brien-Smith"]),
        ("苏州市工厂用Python。", CHINESE, []),
        ("杭州市工厂用Java。", CHINESE, ["Java", "杭州市"]),
        ("这家公司的教授，读了《本草纲目》。", CHINESE, ["本草纲目"]),
        ("蘇州市工廠。", CHINESE, []),
    ],
)
def test_names(text, source, names):
    assert names_without_source(text, source) == names


@pytest.mark.parametrize(
    ("text", "source", "numbers"),
    [
        ("1200 tonnes, 2 mills", ENGLISH, []),
        ("12 tonnes, 3 mills", ENGLISH, ["12", "3"]),
        ("3 家，１２００ 次", CHINESE, []),
        ("4 家，1.2 万次", CHINESE, ["1.2", "4"]),
    ],
)
def test_numbers(text, source, numbers):
    assert numbers_without_source(text, source) == numbers


def test_copied_runs_are_counted_once_and_in_both_languages():
    assert copied_share(ENGLISH, ENGLISH) == 1
    assert copied_share("Hops were grown in Germany by farmers.", ENGLISH) == 0
    nine = "Farmers in Germany grew 1,200 tonnes of hops"
    assert copied_share(f"{nine}, and so on and on and on", ENGLISH) == 9 / 16
    assert copied_share(CHINESE, CHINESE) == 1
    assert copied_share("三家工厂记录了温度。", CHINESE) == 0
    # Eleven characters in a row are no copy, twelve are.
    assert copied_share("一二三四五六七八九十甲", "一二三四五六七八九十甲乙") == 0
    assert copied_share("一二三四五六七八九十甲乙", "一二三四五六七八九十甲乙丙") == 1
    assert copied_share("……", CHINESE) == 0
