"""Duplicates: which go, for whose sake, and which never do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import DanluError, RecordError
from danlu.records import Message, Record
from danlu.workshop.likeness.parts import parts
from danlu.workshop.likeness.text import fold
from danlu.workshop.operations import dedup
from danlu.workshop.operations.dedup import Dedup, label_task_types
from danlu.workshop.operations.given import Scores
from tests.workshop.likeness import kept_by_hand, quiet, record, shingle_jaccard


def entries(records, **settings):
    return [entry for _, entry in Dedup(**settings).decide(records, quiet)]


def labels_in(records):
    taken = [(one, parts(one)) for one in records]
    return label_task_types((one.task_type, part.prompt, part.answer) for one, part in taken)


def kept(records, **settings):
    return [entry.id for entry in entries(records, **settings) if entry.fate == "kept"]


def test_short_chinese_answers_do_not_collapse():
    """The trap: to whitespace shingles every short Chinese answer is one and the same word."""
    answers = ["北京", "上海", "蓝色", "三十二", "不知道", "是的。", "苹果和梨", "红楼梦"]
    records = [
        record(number, f"问题{number}", answer, f"t/{number % 2}")
        for number, answer in enumerate(answers)
    ]
    assert kept(records, on="answer") == [one.id for one in records]
    assert kept(records, on="answer", near=0.1, across=True) == [one.id for one in records]


def test_a_near_duplicate_and_its_figures():
    """ab|bc|…|ij are 9 shingles; with one more character the other has 10, 9 of them shared."""
    one, other = entries([record(1, "abcdefghij"), record(2, "ABCDEFGHIJk")], on="prompt")
    assert (one.fate, one.rule) == ("kept", "")
    assert (other.fate, other.rule, other.partner) == ("dropped", "near duplicate", "r1")
    assert (other.value, other.limit) == (0.9, 0.8)
    assert kept([record(1, "abcdefghij"), record(2, "abcdefghijk")], near=0.91) == ["r1", "r2"]


def test_folding_serves_comparison_only():
    records = [
        record(1, "請問台灣的首都"),
        record(2, "请问台湾的首都"),
        record(3, "请问台湾的首都"),
    ]
    second, third = list(Dedup().decide(records, quiet))[1:]
    assert second.record == records[1]
    assert (second.entry.rule, second.entry.value) == ("near duplicate", 1.0)
    assert (third.entry.rule, third.entry.partner) == ("near duplicate", "r1")
    assert kept(records, near=None) == ["r1", "r2"]
    assert entries(records, near=None)[2].rule == "exact duplicate"


def test_both_must_be_alike():
    long = "Tell me how the weather is in {} today, please"
    same = [record(1, long.format("Rome"), "It is sunny and warm outside now.")]
    other_answer = record(2, long.format("Rome"), "Heavy rain until the evening, then dry.")
    near_answer = record(3, long.format("Rome"), "It is sunny and warm outside now!")
    assert kept([*same, other_answer, near_answer]) == ["r1", "r2"]
    assert kept([*same, other_answer, near_answer], on="prompt") == ["r1"]
    value = entries([*same, near_answer])[1].value
    assert value == shingle_jaccard(
        fold(same[0].messages[1].content), fold("It is sunny and warm outside now!")
    )


sentences = st.text("abcd", min_size=0, max_size=8) | st.sampled_from(
    [
        "please tell me a story",
        "please tell me a story!",
        "Please sell me a story",
        "是",
        "否",
        "否。",
    ]
)


@given(
    st.lists(st.tuples(sentences, sentences, st.integers(0, 1)), max_size=14),
    st.sampled_from(["prompt", "answer", "both"]),
    st.sampled_from([0.3, 0.6, 0.8, 1.0]),
    st.booleans(),
    st.sampled_from([0, 16]),
)
def test_equal_to_comparing_all_pairs(rows, on, limit, across, many):
    records = [
        record(n, prompt, answer, f"t/{kind}") for n, (prompt, answer, kind) in enumerate(rows)
    ]
    labelled = labels_in(records)

    def alike(one, other):
        (prompt, answer, kind), (prompt2, answer2, kind2) = rows[one], rows[other]
        types = {f"t/{kind}", f"t/{kind2}"}
        if types & labelled:
            if kind != kind2 or fold(answer) != fold(answer2):
                return 0.0
            return shingle_jaccard(fold(prompt), fold(prompt2))
        if (not across and kind != kind2) or (on != "prompt" and bool(answer) != bool(answer2)):
            return 0.0
        prompts = shingle_jaccard(fold(prompt), fold(prompt2))
        answers = shingle_jaccard(fold(answer), fold(answer2))
        if on == "prompt" or not answer:
            return prompts
        return answers if on == "answer" else min(prompts, answers)

    def same(number):
        prompt, answer, kind = rows[number]
        labels = f"t/{kind}" in labelled
        texts = (fold(answer),) if on == "answer" and answer and not labels else (fold(prompt),)
        if on == "both" or labels:
            texts = (fold(prompt), fold(answer))
        return (kind if labels or not across else -1, bool(answer) and on, texts)

    by_hand = kept_by_hand(len(rows), alike, lambda value: value >= limit, same)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup, "_MANY", many)
        found = entries(records, on=on, near=limit, across=across)
    assert [entry.fate for entry in found] == [
        "kept" if partner < 0 else "dropped" for partner, _ in by_hand
    ]
    for entry, (partner, value) in zip(found, by_hand, strict=True):
        assert entry.partner == (None if partner < 0 else f"r{partner}")
        assert entry.value == (None if partner < 0 else value)


def test_labels_never_collapse():
    texts = ["The film was a joy.", "What a dull evening.", "I loved it.", "Never again, thanks."]
    records = [
        record(number, text, label, "review/sentiment")
        for number, (text, label) in enumerate(
            zip(texts, ["good", "bad", "Good", "bad"], strict=True)
        )
    ]
    assert labels_in(records) == {"review/sentiment"}
    assert kept(records, on="answer") == [one.id for one in records]
    # Prompts decide, and only among records of one label.
    twin = record(9, "The film was a joy!", "good", "review/sentiment")
    against = record(8, "The film was a joy!", "bad", "review/sentiment")
    assert entries([*records, twin], on="answer")[-1].partner == "r0"
    assert kept([*records, against], on="prompt")[-1] == "r8"


def test_labels_by_name():
    """Two answers tell nothing of a task type; what is known of it does."""
    records = [record(1, "Is it so?", "certainly yes"), record(2, "And then?", "certainly yes!")]
    assert kept(records, on="answer") == ["r1"]
    assert kept(records, on="answer", closed=("a/b",)) == ["r1", "r2"]


def test_repeated_long_answers_are_no_labels():
    answer = "I am sorry, but I cannot help you with that request."
    records = [record(number, f"question {number}", answer) for number in range(9)]
    assert labels_in(records) == set()
    assert kept(records, on="answer") == ["r0"]


def test_within_a_task_type_or_across():
    records = [
        record(1, "Name a colour please", task_type="a/b"),
        record(2, "Name a colour please", task_type="a/c"),
    ]
    assert kept(records) == ["r1", "r2"]
    assert kept(records, across=True) == ["r1"]


def test_which_one_is_kept():
    prompt = "Describe the moon in a few words"
    answers = ["A grey stone.", "A grey stone that goes round the earth.", "A stone far away."]
    records = [record(number, prompt, answer) for number, answer in enumerate(answers)]
    assert kept(records, on="prompt") == ["r0"]
    assert kept(records, on="prompt", keep="longest") == ["r1"]
    scores = Scores({"r0": 0.1, "r1": 0.2, "r2": 0.9})
    assert kept(records, on="prompt", keep="best", scores=scores) == ["r2"]
    with pytest.raises(RecordError, match="1 records have no score"):
        kept(records, on="prompt", keep="best", scores=Scores({"r0": 0.1, "r1": 0.2}))


def test_a_chain_is_measured_against_what_is_kept():
    """b is near a, and c near b, but c is not near a: c stays."""
    a, b, c = "abcdefghijklm", "abcdefghijkxy", "abcdefghiwvxy"
    assert shingle_jaccard(a, b) == 10 / 14
    assert shingle_jaccard(b, c) == 9 / 15
    assert shingle_jaccard(a, c) == 8 / 16
    found = entries([record(1, a), record(2, b), record(3, c)], near=0.55)
    assert [entry.fate for entry in found] == ["kept", "dropped", "kept"]


def test_robustness_stands_aside():
    clean = record(1, "What is the capital of France?")
    typo = record(2, "What is teh capital of France?", tags=("robustness",))
    for records in ([clean, typo], [typo, clean]):
        assert kept(records, near=0.5) == [one.id for one in records]
    _, entry = entries([clean, typo], near=0.5)
    assert (entry.fate, entry.rule, entry.partner) == ("kept", "near duplicate", "r1")
    assert entry.detail == "kept by tag robustness"
    assert entry.value == shingle_jaccard(*(fold(r.messages[0].content) for r in (clean, typo)))
    # What is written just like another goes, whatever its tags.
    assert kept([typo, replace(typo, id="r3")]) == ["r2"]


def test_other_system_prompts_and_tools_make_other_prompts():
    def asked(number, system=None, tools=()):
        turns = (Message("system", system),) if system else ()
        return Record(f"r{number}", "a/b", (*turns, Message("user", "What is new today?")), tools)

    tool = {"type": "function", "function": {"name": "news"}}
    records = [asked(1), asked(2, "Be brief."), asked(3, None, (tool,)), asked(4, "be brief.")]
    assert kept(records) == ["r1", "r2", "r3"]


def test_arguments_of_tools_are_compared():
    def called(number, city):
        calls = [{"function": {"name": "weather", "arguments": f'{{"city": "{city}"}}'}}]
        call = Message("assistant", None, extra={"tool_calls": calls})
        return Record(f"r{number}", "a/b", (Message("user", "How is it there?"), call))

    assert kept([called(1, "Reykjavik"), called(2, "Ouagadougou"), called(3, "Reykjavik")]) == [
        "r1",
        "r2",
    ]


@given(st.permutations(list(range(8))))
def test_with_the_best_kept_the_order_does_not_matter(order):
    texts = ["Name a small bird", "Name a small bird!", "name a small bird?", "Sing", "Sing!"]
    texts += ["列出三种水果", "列出三種水果", "列出四种水果吧"]
    records = [record(number, text) for number, text in enumerate(texts)]
    scores = Scores({f"r{number}": (number * 5) % 8 for number in range(8)})
    settings = {"near": 0.7, "keep": "best", "scores": scores}
    straight = {entry.id: entry for entry in entries(records, **settings)}
    shuffled = {entry.id: entry for entry in entries([records[n] for n in order], **settings)}
    assert shuffled == straight
    assert any(entry.fate == "dropped" for entry in straight.values())


@pytest.mark.parametrize("near", [0.0, 1.5])
def test_a_limit_that_is_none(near):
    with pytest.raises(DanluError, match="above 0 and at most 1"):
        Dedup(near=near)


def test_no_records():
    assert entries([]) == []


def test_one_prompt_written_twice_makes_no_label():
    records = [
        record(1, "給我講一個故事吧", "从前有座山。"),
        record(2, "给我讲一个故事吧", "从前有座山。"),
    ]
    assert labels_in(records) == set()
    assert labels_in([*records, record(3, "再讲一个", "从前有座山。")]) == {"a/b"}
