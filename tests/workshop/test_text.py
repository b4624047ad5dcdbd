"""Folding and units, in the scripts where they matter."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.workshop.likeness import text as room
from danlu.workshop.likeness.text import fold, has_han, units


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Ｈｅｌｌｏ，世界", "hello,世界"),
        ("臺灣的電腦", "台湾的电脑"),
        ("a\u3000b\t\tc\n", "a b c"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("", ""),
        ("①ﬁ", "1fi"),
        ("\ufeff丹\u200b炉\u2060", "丹炉"),
        ("co\u00adop\u202b שלום\u202c", "coop שלום"),
        ("👩\u200d🚀 می\u200cخواهم", "👩\u200d🚀 می\u200cخواهم"),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded
    assert fold(folded) == folded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天天气好。", list("今天天气好")),
        ("iPhone15发布了", ["iPhone15", "发", "布", "了"]),
        ("カタカナ hiragana ひら", ["カ", "タ", "カ", "ナ", "hiragana", "ひ", "ら"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
        ("3.14 -- x_1!", ["3", "14", "x_1"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("…！？ \n", []),
    ],
)
def test_units(text: str, expected: list[str]) -> None:
    assert units(text) == expected


def test_has_han() -> None:
    assert has_han("abc漢")
    assert not has_han("ひらがな abc")


def slow_fold(text: str) -> str:
    unseen = {0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, 0xFEFF}
    unseen |= set(range(0x2066, 0x206A))
    text = "".join(one for one in unicodedata.normalize("NFKC", text) if ord(one) not in unseen)
    text = text.casefold()
    if has_han(text):
        text = room._simplifier().convert(text)
    return room._SPACE.sub(" ", text).strip()


def test_the_fast_ways_are_right_for_every_character() -> None:
    every = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    wrong = [one for one in every if units(f"a{one}丹") != room._UNIT.findall(f"a{one}丹")]
    assert wrong == []
    ascii_ = [f"A{one} {one}b" for one in every[:128]]
    assert [one for one in ascii_ if fold(one) != slow_fold(one)] == []
    assert [one for one in ascii_ if units(one) != room._UNIT.findall(one)] == []


@given(st.text(st.sampled_from("aB_1 \n.,丹爐，。々〇-é\u0301가アÀ×·ł（％…～　\x1cﬁ①\xad\u200b\ufeff\u202e")))
def test_the_fast_ways_are_right_for_every_text(text: str) -> None:
    assert units(text) == room._UNIT.findall(text)
    assert fold(text) == slow_fold(text)
