"""Folding and units, in the scripts where they matter."""

from __future__ import annotations

import pytest

from danlu.workshop.text import fold, has_han, units


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
