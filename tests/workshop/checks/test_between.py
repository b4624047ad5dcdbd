"""Checks that hold records against others: conflicts, leakage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.records import Message, Record
from danlu.workshop.checks import Conflicts, Context, Leakage
from danlu.workshop.checks.leakage import _Index, stretches
from tests.workshop.checks.trying import chat, chinese, english, rules, run, talk


def labelled(*odd: Record) -> list[Record]:
    return [
        *(chat(f"l{k}", f"Is {k} even?", ["yes", "no"][k % 2]) for k in range(40)),
        *(chat(f"标{k}", f"{k}是偶数吗？", ["是", "否"][k % 2], "甲/乙") for k in range(40)),
        *odd,
    ]


def test_labels_that_conflict() -> None:
    odd = (chat("x", "is 3  even?", "Yes."), chat("错", "３是偶數嗎?", "是", "甲/乙"))
    found, verdicts = run(Conflicts(), labelled(*odd))
    assert [(one.record_id, one.rule, one.partner) for one in found] == [
        ("x", "labels", "l3"),
        ("错", "labels", "标3"),
    ]
    assert verdicts["甲/乙"].state == "fault"
    same = (chat("x", "is 4 even?", "Yes."), chat("same", "４是偶数吗？", "是。", "甲/乙"))
    assert rules(Conflicts(), labelled(*same)) == []


@pytest.mark.parametrize(
    ("prompt", "one", "near", "far"),
    [
        ("Where is it?", "It stands by the old harbour.", "It stands at the old harbour!", "No."),
        ("它在哪儿？", "它在老港口的旁边。", "它就在老港口的旁边！", "一九四九年。"),
    ],
    ids=["en", "zh"],
)
def test_open_answers_that_conflict(prompt: str, one: str, near: str, far: str) -> None:
    assert rules(Conflicts(), [chat("1", prompt, one), chat("2", prompt, near)]) == []
    found, _ = run(Conflicts(), [chat("1", prompt, one), chat("2", prompt, far)])
    assert [(it.rule, it.record_id, it.partner, it.level) for it in found] == [
        ("answers", "2", "1", "attention")
    ]
    assert 0 <= found[0].value < 0.3


def test_the_prompt_is_all_that_comes_before() -> None:
    given = [
        talk("1", "Go", "Ten.", system="Count up."),
        talk("2", "Go", "Zero!", system="倒着数。"),
        talk("3", "Hi", "Hello", "Go", "Bananas."),
        talk("4", "Ho", "Hello", "Go", "Kiwi fruit"),
        Record(
            "5", "a/b", (Message("user", "Go"), Message("assistant", "~")), tools=({"name": "f"},)
        ),
    ]
    assert rules(Conflicts(), given) == []
    again = talk("6", "Hi", "Hello", "Go", "~~~")
    assert [one.partner for one in run(Conflicts(), [*given, again])[0]] == ["3"]


EVAL = [
    chat(
        "e1",
        "A farmer sells 12 of his 40 sheep and buys 7 goats; how many animals has he now?",
        "35",
    ),
    chat("e2", "你是谁？", "我是丹炉。"),
    chat(
        "e3",
        "一位农夫有四十只羊，卖掉了其中的十二只，又买来七只山羊，请问他现在一共有多少只动物？",
        "三十五",
    ),
    chat("e4", "Short one", "Yes"),
]


@pytest.mark.parametrize(
    ("prompt", "answer", "expected", "partner"),
    [
        ("short  ONE", "no", "whole_prompt", "e4"),
        ("你是誰?", "一个助手", "whole_prompt", "e2"),
        (
            "Solve: a Farmer sells 12 of his 40 sheep, and buys 7 goats. How many?",
            "35",
            "overlap",
            "e1",
        ),
        (
            "Make a puzzle",
            "A farmer sells 12 of his 40 sheep and buys 7 goats; how many?",
            "overlap",
            "e1",
        ),
        ("请解题：一位農夫有四十隻羊，卖掉了其中的十二只，又买来七只山羊。", "好", "overlap", "e3"),
    ],
)
def test_leakage(prompt: str, answer: str, expected: str, partner: str) -> None:
    [finding], verdicts = run(Leakage(), [chat("1", prompt, answer)], Context(evaluation=EVAL))
    assert (finding.rule, finding.partner) == (expected, partner)
    assert verdicts["a/b"].state == "fault"


@pytest.mark.parametrize(
    "prompt",
    [
        "A farmer sells 12 of his 40 sheep and buys 7",  # 10 units
        "又买来七只山羊，请问他现在一共有多少",  # 16 characters
        "you are 谁",
        "A short one",
    ],
)
def test_what_is_no_leak(prompt: str) -> None:
    assert rules(Leakage(), chat("1", prompt, "fine"), Context(evaluation=EVAL)) == []


def test_what_is_said_in_every_conversation_is_no_leak() -> None:
    evaluation = [
        talk("e", "Tell me about furnaces.", "They are hot.", "Go on", "No.", "继续", "好")
    ]
    training = [talk("t", "Hello there", "Hi", "go on", "Well.", "继续", "嗯"), chat("u", "Go on")]
    assert rules(Leakage(), training, Context(evaluation=evaluation)) == []
    later = talk("v", "Hello there", "Hi", "Tell me about furnaces and fire.", "Well.")
    same = talk("w", "Hi", "Hi", "Tell me about furnaces and fire.", "They burn.")
    assert rules(Leakage(), later, Context(evaluation=[same])) == ["whole_prompt"]


def test_phrases_in_many_records_are_no_leak() -> None:
    phrase = "please read the following text with care and then answer the question in one word: "
    句 = "请仔细阅读下面这段文字，然后只用一个词来回答文末提出的那个问题："
    for form in (phrase, 句):
        many = [chat(f"e{k}", f"{form} {k}{k}{k}") for k in range(12)]
        assert rules(Leakage(), chat("1", form + "x"), Context(evaluation=many)) == []
        training = [chat(f"t{k}", f"{form} x{k}") for k in range(12)]
        assert rules(Leakage(), training, Context(evaluation=many[:1])) == []
        assert rules(Leakage(), training[:3], Context(evaluation=many[:1])) == ["overlap"] * 3


@given(
    st.lists(st.sampled_from("ab你好"), max_size=60),
    st.lists(st.sampled_from("ab你好"), max_size=60),
    st.integers(2, 9),
)
def test_the_quick_look_misses_nothing(one: list[str], other: list[str], length: int) -> None:
    check = Leakage(overlap_units=length, overlap_characters=length + 3)
    index = _Index(check, [chat("e", " ".join(one), "")])
    found = [gram for gram, _ in stretches(other, check) if gram in index.grams]
    assert index.may_overlap(other) or not found


def test_leakage_is_not_run_without_evaluation() -> None:
    found, verdicts = run(Leakage(), [*english(3), *chinese(3)])
    assert found == []
    assert {one.state for one in verdicts.values()} == {"not_run"}
    assert "--evaluation" in verdicts["写作/故事"].advice
    others = [*english(30, seed=1), *chinese(30, seed=1)]
    mine = [*english(10, seed=2), *chinese(10, seed=2)]
    assert set(
        rules(Leakage(overlap_units=40, overlap_characters=60), mine, Context(evaluation=others))
    ) <= {"whole_prompt"}
