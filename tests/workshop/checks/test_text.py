"""Checks of text: language, mojibake, punctuation, special tokens, personal data, patterns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.errors import DanluError
from danlu.records import Message, Record
from danlu.workshop.checks import (
    Context,
    Forbidden,
    LanguageMix,
    Mojibake,
    PersonalData,
    Punctuation,
    SpecialTokens,
    personal,
)
from danlu.workshop.checks.mojibake import read_as_gbk
from danlu.workshop.checks.scripts import count_scripts, main_script
from tests.workshop.checks.trying import chat, chinese, english, rules, run

中 = "炼丹炉是古代炼制丹药的器具，多用铜铁铸成，炉身有三足，刻着八卦图案，使用前先要祭拜火神。"
EN = "The furnace stands on three feet and was cast in bronze long before the village was founded."


def test_good_text_has_no_findings() -> None:
    for check in (LanguageMix(), Mojibake(), Punctuation(), SpecialTokens(), PersonalData()):
        found, verdicts = run(check, [*english(60), *chinese(60)])
        assert found == []
        assert {one.state for one in verdicts.values()} == {"ok"}


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        (中, 中, []),
        (EN, EN, []),
        (中, EN, ["answer_language"]),
        (EN, 中, ["answer_language"]),
        ("把这句话翻译成英文：炉子有三只脚。", EN, []),
        ("Say it in Chinese, please: the furnace stands here.", 中, []),
        ("用 Python 写一个函数", "```python\n" + "x = furnace(three, feet)\n" * 9 + "```", []),
        ("请介绍一下这位炼丹师的生平", "OK", []),
        ("请介绍 Semi-supervised learning with Gaussian fields and harmonic functions", 中, []),
        ("what does this mean: 超次元の究極バトルがはじまる", EN, []),
        (中, 中 + " обжиг ", ["stray_script"]),
        (EN, EN + " 그리고 ", ["stray_script"]),
        (中 + "обжиг", 中 + "обжиг", []),
        (中, 中 * 3 + (EN + " ") * 2, ["mixed_answer"]),
        (中, 中 + "它叫 Danlu furnace。", []),
        (
            "これは何ですか。炉の話をしてください。",
            "これは昔の炉です。丹を作るために使われました。とても古いものです。",
            [],
        ),
    ],
)
def test_language_of_answers(prompt: str, answer: str, expected: list[str]) -> None:
    assert rules(LanguageMix(), chat("1", prompt, answer)) == expected


@pytest.mark.parametrize(("usual", "other"), [(中, EN), (EN, 中)], ids=["zh", "en"])
def test_a_record_in_another_language_than_its_task(usual: str, other: str) -> None:
    given = [chat(str(k), f"{usual}{k}", usual) for k in range(40)]
    odd = chat("odd", other, other)
    for order in ([*given, odd], [odd, *given]):
        [finding], verdicts = run(LanguageMix(), order)
        assert (finding.rule, finding.record_id) == ("other_than_task", "odd")
    assert len([name for name in verdicts["a/b"].figures if name.endswith("_share")]) == 2
    quoted = chat("quoted", f"{other}{usual[:12]}", other)
    assert "other_than_task" not in rules(LanguageMix(), [*given, quoted])
    half = [chat(f"h{k}", other, other) for k in range(40)]
    assert rules(LanguageMix(), [*given, *half]) == []


def test_robustness_protects_from_language_and_punctuation() -> None:
    odd = [chat("1", 中, EN, "a/b", "robustness"), chat("2", 中, EN)]
    found, verdicts = run(LanguageMix(), odd)
    assert [(one.record_id, one.protected) for one in found] == [("1", True), ("2", False)]
    assert verdicts["a/b"].figures["protected"] == 1
    [finding], verdicts = run(Mojibake(), [chat("1", "café", "cafÃ©", "a/b", "robustness")])
    assert finding.protected
    assert verdicts["a/b"].state == "ok"
    mixed = chat("1", "q", "炉子很热,请小心,不要碰。它,很旧。", "a/b", "robustness")
    assert run(Punctuation(), [mixed])[0][0].protected
    # What is no matter of style protects nobody.
    assert not run(PersonalData(), [chat("1", "q", "13912345076", "a/b", "robustness")])[0][
        0
    ].protected


def test_scripts() -> None:
    assert count_scripts("Danlu 丹炉 печь 가마") == {
        "han": 2,
        "hangul": 2,
        "cyrillic": 4,
        "latin": 2,
    }
    assert main_script(count_scripts("炉の火を見る人がいる")) == "kana"
    assert main_script({"han": 5, "latin": 6}) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("café, naïve, Ångström, São Paulo, “quoted” – so…", []),
        ("丹炉是用来炼丹的炉子，臺灣的電腦，〇々。", []),
        ("π ≈ 3.14, 20 °C, ½ Â", []),
        ("emoji 🔥 and zero\u200dwidth", []),
        ("caf\ufffd", ["replacement_character"]),
        ("很多的工\ufffd\ufffd具", ["replacement_character"]),
        ("cafÃ©", ["utf8_as_latin1"]),
        ("itâ€™s fine", ["utf8_as_latin1"]),
        ("丹炉".encode().decode("latin-1"), ["utf8_as_latin1"]),
        (
            "丹炉是用来炼丹的".encode().decode("gbk", "replace").replace("\ufffd", ""),
            ["utf8_as_gbk"],
        ),
        ("前面是好的 锟斤拷锟斤拷", ["utf8_as_gbk"]),
        ("a\x00b", ["control_character"]),
        ("\ufeff开头", ["control_character"]),
    ],
)
def test_mojibake(text: str, expected: list[str]) -> None:
    assert rules(Mojibake(), chat("1", text, "fine")) == expected
    assert rules(Mojibake(), chat("1", "fine", f"so {text}")) == expected


@pytest.mark.parametrize("text", [中, "联通的联系人已经联络联合国", "你好世界再见朋友们"])
def test_chinese_is_not_taken_for_mojibake(text: str) -> None:
    assert read_as_gbk(text) == ""
    wrong = text.encode().decode("gbk", "ignore")
    assert wrong != text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (中, []),
        (EN, []),
        ("常用的有 Python，Java，还有 C++。", []),
        ("圆周率是 3,14 吗？时间:早上。", []),
        ("炉子很热,请小心,不要碰。它，很旧。", ["mixed_width"]),
        ("炉子很热,请小心,不要碰!", ["half_width"]),
        ("The furnace is hot，be careful。", ["full_width_in_latin"]),
        ("ＡＢＣ is written wide.", ["full_width_in_latin"]),
        ("```\nx，y = 1\n```", []),
    ],
)
def test_punctuation(answer: str, expected: list[str]) -> None:
    assert rules(Punctuation(), chat("1", "q", answer)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b | c > d, x[0], [1], <b>bold</b>", []),
        ("<s>划掉</s>", ["ambiguous_token"]),
        ("The end.<|endoftext|>", ["control_token"]),
        ("好的<|im_end|>", ["control_token"]),
        ("[INST] Go [/INST]", ["control_token"]),
        ("结束</s>", ["control_token"]),
        ("<｜User｜>你好", ["control_token"]),
        ("<start_of_turn>user", ["control_token"]),
        ("fill the [MASK]", ["ambiguous_token"]),
        ("It is so.\nHuman: And then?", ["role_mark"]),
        ("是的。\n用户：然后呢？", ["role_mark"]),
        ("Human: Hi\nAssistant: Hello\nHuman: Bye", []),
        ("用户：可以是任何人，\n助手：也是。", []),
    ],
)
def test_special_tokens(text: str, expected: list[str]) -> None:
    assert rules(SpecialTokens(), chat("1", "q", text)) == expected


def test_special_tokens_of_the_model(tokenizer_maker: Any) -> None:
    context = Context(tokenizer=tokenizer_maker(additional_special_tokens=["@@炉@@"]))
    [finding], _ = run(SpecialTokens(), [chat("1", "看 @@炉@@ 吧", "好")], context)
    assert (finding.rule, finding.value) == ("own_token", "@@炉@@")
    assert finding.detail.startswith("message 1 (user)")
    assert rules(SpecialTokens(), chat("1", "看 @@炉@@ 吧", "好")) == []


@pytest.mark.parametrize(
    ("text", "expected", "secret"),
    [
        ("打 13912345076 找我", "phone", "12345"),
        ("电话：139-8021-5076。", "phone", "8021"),
        ("call +44 20 7946 0958 now", "phone", "7946"),
        ("office (212) 736-5000", "phone", "736"),
        ("座机 010-62751234", "phone", "62751"),
        ("write to petra.novak@danlu-mail.cz", "email", "novak"),
        ("邮箱是 wang_xiaoming@qq.com。", "email", "xiaoming"),
        ("身份证 11010519491231002X", "id_number", "19491231"),
        ("card 4539 5787 6362 1486", "bank_card", "5787"),
        ("卡号6222021234567890128", None, ""),
        ("key sk-abcdefghij0123456789ABCD", "secret", "ghij"),
        ("AKIAIOSFODNN7EXAMPLE", "secret", "FODNN"),
        ("-----BEGIN RSA PRIVATE KEY-----", "secret", "RSA PRIV"),
    ],
)
def test_personal_data(text: str, expected: str | None, secret: str) -> None:
    for record in (chat("1", text, "好"), chat("1", "q", f"It says: {text}")):
        found, _ = run(PersonalData(), [record])
        assert [one.rule for one in found] == ([expected] if expected else [])
        if found:
            assert "*" in str(found[0].value)
            assert secret not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "In 1949 and 2024, 1,380,013 people; 3.14159265358979",
        "john.doe@example.com, info@company.com, 邮箱 zhangsan@example.org",
        "身份证 110105194912310021",  # a wrong check digit
        "card 4539 5787 6362 1487",
        "4111 1111 1111 1111 is for tests",
        "(555) 123-4567 and 13800138000",
        "6000-600-150-1200-2000=2050",
        "task-skiing, eyJust, highest",
        "ISBN 978-3-16-148410-0",
    ],
)
def test_what_is_nobodys(text: str) -> None:
    assert rules(PersonalData(), chat("1", text, text)) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I am {{name}}, made by {{author}}.", ["placeholder"]),
        ("我是{{name}}。", ["placeholder"]),
        ("Lorem ipsum dolor", ["placeholder"]),
        ("As an AI language model, I cannot.", ["disclaimer"]),
        ("作为一个人工智能语言模型，我不能。", ["disclaimer"]),
        ("I am ChatGPT, and glad.", ["others_name"]),
        ("我是通义千问，由阿里云开发。", ["others_name"]),
        ("```\n{{name}} in a template\n```", []),
        ("Google was founded in 1998. OpenAI is a firm.", []),
        ("人工智能是一门学科。", []),
        ("The fair is an air show.", []),
    ],
)
def test_shipped_patterns(answer: str, expected: list[str]) -> None:
    assert rules(Forbidden(), chat("1", "q", answer)) == expected


def test_own_patterns(tmp_path: Path) -> None:
    file = tmp_path / "patterns.txt"
    file.write_text("# ours\nrival: \\bAcme\\b\n\n保证: 保证(?:最低|收益)\n", "utf-8")
    given = [
        chat("1", "q", "Acme is fine"),
        chat("2", "q", "我们保证收益。"),
        chat("3", "Acme?", "no"),
    ]
    found, _ = run(Forbidden(str(file)), given)
    assert [(one.record_id, one.rule, one.value) for one in found] == [
        ("1", "pattern", "rival"),
        ("2", "pattern", "保证"),
    ]
    for line, said in (("no colon", "is no pattern"), ("a: (", "no regular expression")):
        file.write_text(f"# first\n{line}\n", "utf-8")
        with pytest.raises(DanluError, match=f"{re.escape(str(file))}:2: .*{said}"):
            run(Forbidden(str(file)), [])
    with pytest.raises(DanluError, match="cannot be read"):
        run(Forbidden(str(tmp_path / "none")), [])


def test_findings_say_where() -> None:
    messages = tuple(
        Message(role, text)
        for role, text in [("system", "s"), ("user", "u"), ("assistant", "a\ufffd"), ("user", "x")]
    )
    [finding], _ = run(Mojibake(), [Record("1", "a/b", messages)])
    assert finding.detail.startswith("message 3 (assistant): ")


@settings(max_examples=300)
@given(st.text(st.sampled_from("0123456789123456789+() .-xX=a中٣"), min_size=6, max_size=50))
def test_numbers_are_found_in_runs_as_in_the_whole(text: str) -> None:
    runs = [run.span() for run in personal._RUN.finditer(text)]
    for pattern in (personal._ID_NUMBER, personal._CARD, personal._MOBILE, personal._ABROAD):
        found = [one.span() for one in personal._within(runs, pattern, text)]
        assert found == [one.span() for one in pattern.finditer(text)]
