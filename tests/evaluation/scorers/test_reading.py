"""Scorers that read an answer: exact match, choice, numbers, labels."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import EvaluationError
from danlu.evaluation.scorers import SCORERS, make_scorer
from danlu.evaluation.scorers.choice import Choice
from danlu.evaluation.scorers.classification import Classification
from danlu.evaluation.scorers.exact_match import ExactMatch
from danlu.evaluation.scorers.extract import extract
from danlu.evaluation.scorers.normalise import normalise
from danlu.evaluation.scorers.numbers import HUGE, chinese_to_digits, numbers_in
from danlu.evaluation.scorers.numeric import Numeric


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        ("nfkc", "ＡＢ１", "AB1"),
        ("case", "Straße", "strasse"),
        ("simplified", "電腦", "电脑"),
        ("chinese_numerals", "第二十五章", "第25章"),
        ("thousands", "1,234,567 and 1,23", "1234567 and 1,23"),
        ("articles", "the cat and a dog", "  cat and   dog"),
        ("punctuation", "“a”, b! -1.5 x-y 50% c++", " a   b  -1.5 x y 50% c++"),
        ("space", " 北京  市 is\n big ", "北京市is big"),
    ],
)
def test_each_rule_of_writing(rule: str, before: str, after: str) -> None:
    assert normalise(before, (rule,)) == after
    assert normalise(before, ()) == before


@pytest.mark.parametrize(
    ("rule", "text", "found"),
    [
        ("whole", "  a b ", "a b"),
        ("boxed", r"\boxed{1} then \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("boxed", r"\boxed{1", None),
        ("answer_is", "答案是：42。因为……", "42"),
        ("answer_is", "所以正确答案为 3.5 米", "3.5 米"),
        ("answer_is", "I think. **Final Answer:** Paris\nbye", "Paris"),
        ("answer_is", "The answer is 3. No, the answer is 4.", "4"),
        ("answer_is", "no such words", None),
        ("hashes", "2+2\n#### 4", "4"),
        ("first_line", "\n a \nb", "a"),
        ("last_line", "a\n b \n\n", "b"),
        ("fence", "x\n```python\nprint(1)\n```\ny", "print(1)"),
        ("whole", "<think>a</think>b", "b"),
        ("whole", "reasoning</think>b", "b"),
        ("whole", "<think>a", None),
        ("whole", "", None),
    ],
)
def test_each_rule_of_extraction(rule: str, text: str, found: str | None) -> None:
    assert extract(text, (rule,)) == found


def test_exact_match() -> None:
    assert ExactMatch().score("Paris", ["London", "paris."]).value == 1
    assert ExactMatch().score("Paris, France", "Paris").value == 0
    assert ExactMatch().score("-5", "5").value == 0
    assert ExactMatch().score("1.5", "15").value == 0
    assert ExactMatch().score(" ", "Paris").value is None
    numerals = ExactMatch(normalise=("chinese_numerals", "space"))
    assert numerals.score("一百零二 人", "102人").value == 1


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("B", "B"),
        ("b", "B"),
        ("（Ｂ）", "B"),
        ("**B**", "B"),
        ("选B。", "B"),
        ("B. Paris", "B"),
        ("b) Paris", "B"),
        ("B、北京", "B"),
        ("答案是B", "B"),
        ("答案：B，因为A不对", "B"),
        ("综上所述，本题应选择B项", "B"),
        ("故选：B", "B"),
        ("The answer is (B), not A.", "B"),
        ("I would choose option B", "B"),
        (r"So \boxed{B}", "B"),
        (r"\boxed{\text{B}}", "B"),
        ("A is wrong, so the answer is B.", "B"),
        ("A cat sat there, so B.", "B"),
        ("It is B because of the rain", "B"),
        ("A项错误，B项正确", "B"),
        ("<think>A or C?</think>B", "B"),
        ("A. Paris\nB. Rome\nAnswer: B", "B"),
        ("Option A says x and option B says y. The answer is B.", "B"),
    ],
)
def test_a_choice_is_found(answer: str, found: str) -> None:
    score = Choice().score(answer, "B")
    assert (score.read, score.value) == (found, 1.0)
    assert Choice().score(answer, "C").value == 0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I do not know.",
        "It is A or B.",
        "选A或B",
        "答案是A、B",
        "A、B、C都不对",
        "The answer is A. No: the answer is B.",
        "It is not B.",
        "B项不对",
        "A. Paris\nB. Rome\nC. Oslo\nD. Bonn",
        "A cat sat on a mat.",
        "AB",
        "ABBA and DAB",
        "<think>It must be B",
    ],
)
def test_a_choice_is_not_guessed(answer: str) -> None:
    assert Choice().score(answer, "B").value is None


def test_choices_in_characters_and_by_text() -> None:
    scorer = Choice(options="甲乙丙丁")
    assert scorer.score("答案是乙", "乙").value == 1
    assert scorer.score("乙项符合题意", "乙").value == 1
    assert scorer.score("甲、乙", "乙").value is None
    assert scorer.score("甲方的意见", "甲").value is None
    reference = {"answer": "B", "options": {"A": "Paris", "B": "Rome"}}
    assert Choice().score("rome.", reference).value == 1
    assert Choice().score("Paris", reference).value == 0
    assert Choice().score("Oslo", reference).value is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,234.5", [1234.5]),
        ("1,23", [1, 23]),
        ("−3 and -2e-3", [-3, -0.002]),
        ("3-2", [3, 2]),
        ("3/4, 1 3/4", [0.75, 1.75]),
        (r"\frac{3}{4}", [0.75]),
        ("½", [0.5]),
        ("1½ or -2¾ cups, 3½%", [1.5, -2.75, 3.5]),
        ("The area is 25 m².", [25]),
        (r"25 cm^2, 3 \text{cm}^{2}, 5 km³", [25, 3, 5]),
        ("x² = 4, CO₂, x₁ = 7", [4, 7]),
        ("10², 2^3", [10, 2, 2, 3]),
        ("①3 ⒉5", [1, 3, 2, 5]),
        ("2026/11/21", [2026, 11, 21]),
        ("3.5万", [35_000]),
        ("1亿2000万", [120_000_000]),
        ("3万5", [35_000]),
        ("三千万", [30_000_000]),
        ("一百二十三", [123]),
        ("一百零二", [102]),
        ("一百二", [120]),
        ("三万五", [35_000]),
        ("三万零五", [30_005]),
        ("一万二千三百", [12_300]),
        ("十五", [15]),
        ("十", [10]),
        ("两亿三千万零四百", [230_000_400]),
        ("二〇二六年", [2026]),
        ("三点一四", [3.14]),
        ("四分之三", [0.75]),
        ("负二", [-2]),
        ("壹佰贰拾", [120]),
        ("百货", []),
        ("两三百", []),
        ("no number", []),
    ],
)
def test_numbers(text: str, values: list[float]) -> None:
    assert [float(one.value) for one in numbers_in(text)] == pytest.approx(values)


def in_characters(n: int) -> str:
    """The usual writing of a number below 10**12, by the rules of a grammar."""
    if n < 10:
        return "零一二三四五六七八九"[n]
    for unit, name in ((10**8, "亿"), (10**4, "万"), (1000, "千"), (100, "百"), (10, "十")):
        if n >= unit:
            head, rest = divmod(n, unit)
            text = in_characters(head) + name
            if rest:
                text += ("零" if rest < unit // 10 else "") + in_characters(rest)
            return text
    raise AssertionError


@given(st.integers(0, 10**12 - 1))
def test_every_number_written_in_characters_is_read(n: int) -> None:
    assert [one.value for one in numbers_in(in_characters(n))] == [n]
    assert chinese_to_digits(in_characters(n)) == str(n)


@given(st.integers(-(10**9), 10**9))
def test_every_number_with_commas_is_read(n: int) -> None:
    assert [one.value for one in numbers_in(f"so {n:,} it is")] == [n]


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ("12", 12, 1),
        ("The answer is 12 apples.", "12", 1),
        ("3 boxes of 4 make 12", 12, 1),
        ("12.001", 12, 0),
        ("50%", 0.5, 1),
        ("百分之五十", "50%", 1),
        ("五十%", "1/2", 1),
        ("大约 3.5 万元", "35,000", 1),
        ("答案是12，和上次一样。", 12, 1),
        (r"\boxed{-\frac{1}{2}}", -0.5, 1),
        ("1/3", "1/3", 1),
        ("0.3333", "1/3", 0),
        ("I cannot say", 12, None),
        ("#### 1,000", 1000, 1),
    ],
)
def test_numeric(answer: str, reference: object, value: float | None) -> None:
    assert Numeric().score(answer, reference).value == value


def test_numeric_settings() -> None:
    assert Numeric(relative=0.01).score("100", 101).value == 1
    assert Numeric(relative=0.01).score("99.9", 101).value == 0
    assert Numeric(absolute=0.5).score("0.4", 0).value == 1
    assert Numeric(percent="plain").score("50%", 50).value == 1
    assert Numeric(several="first").score("12, or 13", 12).value == 1
    assert Numeric(several="missing").score("12, or 13", 12).value is None
    # 0.1 is read as a tenth, not as the double next to it.
    assert Numeric(relative=0).score("0.1", 0.1).value == 1
    assert Fraction("0.1") == numbers_in("0.1")[0].value


LABELS = ("positive", "very positive", "negative")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Positive", ["positive"]),
        ("The label is 'very positive'.", ["very positive"]),
        ("It is not positive, but negative.", ["negative"]),
        ("positive or negative", ["positive", "negative"]),
        ("positively", []),
        ("", []),
    ],
)
def test_labels_are_read(answer: str, found: list[str]) -> None:
    assert Classification(LABELS).find(answer) == found
    value = Classification(LABELS).score(answer, "negative").value
    assert value == (None if len(found) != 1 else float(found == ["negative"]))


def test_chinese_labels_need_no_spaces() -> None:
    assert Classification(("正面", "负面")).find("这条评论是正面的。") == ["正面"]
    assert Classification(("正面", "负面")).find("不是正面，是负面") == ["负面"]


def test_f1_by_hand() -> None:
    """Wanted a a a b, given a b (none) b: a has 1 right of 3 and 1, b 1 of 1 and 2.

    F1 of a is 2/(3+1), of b 2/(1+2); micro 2 * 2 / (4 + 3); accuracy 2/4.
    """
    scorer = Classification(("a", "b"))
    found = scorer.over_task(["a", "b", "?", "b"], ["a", "a", "a", "b"])
    assert found["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["micro_f1"] == pytest.approx(4 / 7)
    assert (found["accuracy"], found["unread"]) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: make_scorer("exakt"), "Did you mean 'exact'"),
        (lambda: make_scorer("exact", {"normalize": []}), "Did you mean 'normalise'"),
        (lambda: make_scorer("classification"), "labels"),
        (lambda: make_scorer("exact", {"normalise": ["cases"]}), "Did you mean 'case'"),
        (lambda: make_scorer("exact", {"extract": []}), "no rule is named"),
        (lambda: make_scorer("numeric", {"relative": -1}), "0 or more"),
        (lambda: make_scorer("numeric", {"several": "all"}), "last, first, missing"),
        (lambda: ExactMatch().score("a", ""), "reference is empty"),
        (lambda: ExactMatch().score("a", None), "reference is None"),
        (lambda: Choice().score("A", "E"), "one of ABCD"),
        (lambda: Choice(options="A"), "two different"),
        (lambda: Numeric().score("1", "a or b"), "must be one number"),
        (lambda: Numeric().score("1", "1 or 2"), "must be one number"),
        (lambda: Numeric().score("1", True), "must be one number"),
        (lambda: Classification(LABELS).score("x", "neutral"), "no label"),
        (lambda: Classification(("a", "A")), "two different"),
        (lambda: Classification(LABELS).over_task([], []), "no answers"),
        (lambda: Classification(LABELS).over_task(["a"], []), "0 references"),
    ],
)
def test_what_is_refused(call, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        call()


def test_every_scorer_is_made_by_name() -> None:
    for name in SCORERS:
        settings = {"labels": ["a", "b"]} if name == "classification" else {}
        assert isinstance(make_scorer(name, settings), SCORERS[name])


@pytest.mark.parametrize(
    "answer",
    [
        "9" * 5000,
        "九" * 5000,
        "零" * 5000 + "五",
        "0." + "3" * 5000,
        "3/" + "7" * 5000,
        "1" + ",000" * 2000,
        "1" + "亿" * 3000,
        "二百" * 3000,
        "1e400",
        "1e999999999",
        "1e-999999999",
        "1/" * 3000 + "2",
    ],
)
def test_an_answer_that_never_ends_is_scored_and_ends_nothing(answer: str) -> None:
    """A model that repeats itself must not end an evaluation, nor hold it up."""
    began = time.process_time()
    assert Numeric().score(answer, 12).value == 0
    assert chinese_to_digits(answer)
    assert all(abs(one.value) <= HUGE for one in numbers_in(f"-{answer}"))
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "scorer",
    [Choice(), Classification(labels=("yes", "no")), ExactMatch(), Numeric()],
    ids=lambda scorer: type(scorer).__name__,
)
@pytest.mark.parametrize("answer", ["A|" * 5000, "yes|" * 5000, "<think>" * 3000, "not " * 5000])
def test_an_answer_that_repeats_itself_holds_nothing_up(scorer, answer: str) -> None:
    reference = {Choice: "A", Classification: "yes", ExactMatch: "x", Numeric: 1}[type(scorer)]
    began = time.process_time()
    scorer.score(answer, reference)
    assert time.process_time() - began < 1
