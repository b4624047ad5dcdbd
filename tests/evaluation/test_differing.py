"""Two answers in pieces: by hand in Chinese and English, and nothing lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from danlu.evaluation.differing import LONGEST, differing


def marked(pieces) -> str:
    return "".join(f"[{text}]" if differs else text for text, differs in pieces)


def test_chinese_differs_by_the_character() -> None:
    found = differing("我今天去北京开会。", "我明天去南京开会。")
    assert marked(found.a) == "我[今]天去[北]京开会。"
    assert marked(found.b) == "我[明]天去[南]京开会。"


def test_words_that_share_letters_are_two_words() -> None:
    found = differing("It is a positive review.", "It is a negative review.")
    assert marked(found.a) == "It is a [posi]tive review."
    assert marked(found.b) == "It is a [nega]tive review."
    assert marked(differing("the cats", "the dogs").a) == "the [cat]s"


def test_what_is_only_added_is_marked_on_one_side() -> None:
    found = differing("yes", "yes, of course")
    assert (marked(found.a), marked(found.b)) == ("yes", "yes[, of course]")


def test_texts_that_share_nothing_are_marked_whole() -> None:
    found = differing("Business", "这是一条体育新闻")
    assert (marked(found.a), marked(found.b)) == ("[Business]", "[这是一条体育新闻]")
    assert marked(differing("", "x").b) == "[x]"
    assert differing("", "") == ((), ())


def test_the_rest_of_a_long_answer_counts() -> None:
    same = "字" * LONGEST
    found = differing(same + "左", same + "右")
    assert marked(found.a) == same + "[左]"


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_is_lost_and_what_is_common_is_common(a: str, b: str) -> None:
    found = differing(a, b)
    assert "".join(text for text, _ in found.a) == a
    assert "".join(text for text, _ in found.b) == b
    common = [[text for text, differs in side if not differs] for side in found]
    assert common[0] == common[1]
