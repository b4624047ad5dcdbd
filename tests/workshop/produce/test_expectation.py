"""Expectations: each kind met, and missed by one."""

import pytest

from danlu.errors import DanluError
from danlu.workshop.produce.expectation import Expectation, expectation_of

CASES = [
    ("min_characters", 5, "天气 真好。", "天气真好"),
    ("max_characters", 4, "天气 真好", "天气真好。"),
    ("min_words", 3, "It's really fine", "It's fine"),
    ("max_words", 2, "It's fine", "It's really fine"),
    ("sentences", 2, "One is 1.5. Two!", "Only one is 1.5."),
    ("sentences", 2, "“好。”他说！", "好"),
    ("paragraphs", 2, "one\ntwo\n\nthree", "one\ntwo"),
    ("items", 3, "1. a\n2. b\n3. c", "1. a\n2. b"),
    ("items", 2, "（1）甲\n（2）乙", "甲\n乙"),
    ("json", True, "```json\n[1]\n```", "Here: [1]"),
    ("json_keys", ("a", "b"), '{"b": 1, "a": 2, "c": 3}', '{"a": 1}'),
    ("one_of", ("是", "否"), "是", "是的"),
    ("contains", "furnace", "The Furnace is hot", "The oven is hot"),
    ("excludes", "炉", "天气", "丹爐"),
    ("starts_with", "好，", "\n好，谢谢", "谢谢，好"),
    ("ends_with", "谢谢", "好，谢谢\n", "谢谢你"),
    ("matches", r"^\d+$", "42", "x42"),
    ("language", "zh", "用 Python 写", "Written in Python"),
    ("mentions", "12", "It is 12.", "It is 12.5."),
    ("mentions", ("-3", "宁波"), "宁波 -3 度", "宁波 3 度"),
    ("mentions", "3", "3–5 or 1-3", "minus: -3"),
    ("mentions", "1,200", "１２００ 元", "1200.5"),
    ("mentions_none", ("iron", "铁炉"), "environment", "The IRON"),
    ("declines", True, "没有找到相关资料。", "他生于 1901 年。"),
    ("declines", False, "He was born in 1901.", "I don't know."),
    ("names_conflict", True, "两段资料互相矛盾：一说 3，一说 4。", "是 3。"),
    ("admits_failure", True, "The search returned an error.", "It is sunny."),
    ("calls", (), "Two.", '{"name": "add", "arguments": {}}'),
    (
        "calls",
        ('{"name": "天气", "arguments": {"city": "宁波", "days": 2}}',),
        r'[{"function": {"name": "天气", "arguments": "{\"days\": 2.0, \"city\": \"宁波\"}"}}]',
        '<tool_call>{"name": "天气", "arguments": {"city": "宁波"}}</tool_call>',
    ),
    (
        "calls",
        ('{"name": "a"}', '{"name": "b"}'),
        '[{"name": "b"}, {"name": "a"}]',
        '{"name": "a"}',
    ),
]


@pytest.mark.parametrize(("kind", "value", "good", "bad"), CASES)
def test_met_and_missed(kind, value, good, bad):
    expectation = Expectation(kind, value)
    assert expectation.problem(good) is None
    assert expectation.problem(good, "zh") is None
    assert expectation.problem(bad).startswith("The answer must ")
    assert expectation.problem(bad, "zh").startswith("回答")
    assert expectation_of(expectation.as_dict()) == expectation


def test_what_can_not_be_expected_is_told():
    with pytest.raises(DanluError, match="Did you mean 'min_words'"):
        Expectation("min_word", 3)
    with pytest.raises(DanluError, match="is no pattern"):
        Expectation("matches", "(")
    with pytest.raises(DanluError, match="are no calls"):
        Expectation("calls", ("add(1)",))
    with pytest.raises(DanluError, match="are no calls"):
        Expectation("calls", True)
    with pytest.raises(DanluError, match="no kind"):
        expectation_of({"value": 3})
