"""``robustness``: prompts are mistyped, what they hang on is not, and the answer stays."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import DanluError
from danlu.records import Message
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.abilities.perturb import NEIGHBOURS, PERTURBATIONS, perturbed
from danlu.workshop.produce.abilities.robustness import KINDS, Robustness
from danlu.workshop.produce.common import answer_of, prompt_of
from danlu.workshop.produce.expectation import expectation_of
from danlu.workshop.produce.self_instruct import seed_tasks
from danlu.workshop.store.decision import drop
from danlu.workshop.veto import after_veto
from tests.workshop.produce.asking import asks, decided, fates, made, talk

ENGLISH = (
    "Please tell me which of these two rivers is longer, and write their length in kilometers."
)
CHINESE = "请问怎么写一封简单的邮件，告诉客户明天的会议改时间了？谢谢！"


def test_the_keyboard():
    assert set(NEIGHBOURS["g"]) == set("fhtyvb")
    assert set(NEIGHBOURS["a"]) == set("qwsz")
    assert set(NEIGHBOURS["p"]) == set("ol")
    assert all(a in NEIGHBOURS[b] for a, near in NEIGHBOURS.items() for b in near)


def test_pinyin_is_of_whole_words_where_they_are_known():
    found = perturbed("为什么今年天气热", "pinyin", random.Random(0), (), 9)
    assert found == "weishenme今年tianqi热"
    assert perturbed("炉火", "pinyin", random.Random(0)) in ("lu火", "炉huo")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_what_it_says(kind):
    for prompt, language in ((ENGLISH, "en"), (CHINESE, "zh")):
        if language not in PERTURBATIONS[kind].languages:
            continue
        found = perturbed(prompt, kind, random.Random(1))
        assert found != prompt
        if kind == "width":
            assert fold(found).replace("。", ".") == fold(prompt).replace("。", ".")
        if kind == "case":
            assert found.lower() == prompt.lower()
        if kind == "punctuation":
            assert [c for c in found if c.isalnum()] == [c for c in prompt if c.isalnum()]
            assert len(found) < len(prompt)
        if kind == "drops":
            assert len(prompt) - 20 < len(found) < len(prompt)
        if kind == "swaps":
            assert sorted(found) == sorted(prompt)
        if kind in ("pinyin", "english"):
            assert any(c.isascii() and c.isalpha() for c in found)
        if kind == "homophones" and language == "zh":
            assert len(found) == len(prompt)


def test_what_the_question_hangs_on_stays():
    prompt = (
        "Do not translate `total_sum` or “open the window”; is 3.14 > 22/7, and what does "
        "NASA say at https://a.org/x to four of them? 不要翻译《红楼梦》，只写 12 个字，三遍。"
    )
    hard = ["not", "`total_sum`", "“open the window”", "3.14", "22/7", "NASA", "https://a.org/x"]
    hard += ["four", "三"]
    for kind in KINDS:
        for seed in range(20):
            found = perturbed(prompt, kind, random.Random(seed), strength=9)
            for piece in (*hard, "不", "《红楼梦》", "只", "12"):
                assert piece in found, (kind, piece, found)
    code = "\nnumbers = [2, 4]\nfor n in numbers:\n    numbers.remove(n)\nSELECT name FROM them;"
    assert perturbed(f"这段代码为什么不对？{code}", "typos", random.Random(0), (), 99).endswith(
        code
    )
    assert "kettle" in perturbed("Is kettle kettle?", "typos", random.Random(0), ["KETTLE"], 99)


@given(st.text(), st.sampled_from(KINDS), st.integers(0, 5))
def test_any_text_can_be_given(text, kind, seed):
    found = perturbed(text, kind, random.Random(seed))
    assert found == perturbed(text, kind, random.Random(seed))


def test_variants_stand_beside_their_record_with_its_answer_and_are_protected():
    given_ = talk("1", CHINESE, "答案是 42。", meta={"topic": "邮件"}, tags=("hard",))
    decisions = decided(Robustness(each=3), given_, talk("2", "17", "17"))
    assert [one.entry.fate for one in decisions] == ["kept", "made", "made", "made", "kept"]
    found = made(decisions)
    assert len({prompt_of(one) for one in found} | {CHINESE}) == 4
    for decision, record in zip(decisions[1:], found, strict=False):
        assert decision.entry.partner == "1"
        assert decision.entry.rule == f"robustness: {record.meta['made']['kind']}"
        assert answer_of(record) == "答案是 42。"
        assert record.tags == ("hard", "robustness")
        assert record.meta["topic"] == "邮件"
        assert record.meta["expectations"] == [{"kind": "mentions", "value": "42"}]
        assert after_veto(drop(record, "near duplicate"), record).entry.fate == "kept"
        assert after_veto(drop(record, "language.stray_script"), record).entry.fate == "kept"
    assert made(decided(Robustness(each=3), given_)) == found
    assert made(decided(Robustness(each=3, seed=1), given_)) != found


def test_in_place_and_by_task_type():
    work = Robustness(in_place=True, task_types=("a/*",))
    first, second = decided(work, asks("1", ENGLISH), asks("2", ENGLISH, "spelling/count"))
    assert first.entry.fate == "edited"
    assert first.record.id == "1"
    assert prompt_of(first.record) != ENGLISH
    assert fates([second]) == [("kept", "")]


def test_a_conversation_keeps_its_other_turns_and_tools():
    record = talk("1", "Hi", "Hello")
    call = Message("assistant", None, extra={"tool_calls": [{"function": {"name": "f"}}]})
    messages = (
        *record.messages,
        Message("user", ENGLISH),
        call,
        Message("tool", "1"),
        record.messages[1],
    )
    record = asks("1", "")
    record = replace(record, messages=messages, tools=({"function": {"name": "f"}},))
    [variant] = made(decided(Robustness(), record))
    assert variant.messages[:2] == messages[:2]
    assert variant.messages[3:] == messages[3:]
    assert variant.tools == record.tools


def test_every_seed_task_has_variants_that_meet_what_is_expected():
    work = Robustness(each=2)
    found = made(decided(work, *seed_tasks()))
    assert len(found) + sum(2 - row.value for row in work.rejects.rows) == 2 * len(seed_tasks())
    assert len(work.rejects.rows) < 5
    for record in found:
        for row in record.meta["expectations"]:
            assert expectation_of(row).problem(answer_of(record)) is None


def test_settings_out_of_range():
    with pytest.raises(DanluError, match="Did you mean 'typos'"):
        Robustness(kinds=("typo",))
    with pytest.raises(DanluError, match="room for one variant"):
        Robustness(in_place=True, each=2)
    with pytest.raises(DanluError, match="each is 10"):
        Robustness(each=10)
