"""Format by code: JSON, Python, choices, tool calls, a user's own functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.errors import DanluError
from danlu.records import Message, Record
from danlu.workshop.checks import Choices, CodeBlocks, Context, JsonAnswers, OwnChecks, ToolCalls
from tests.workshop.checks.trying import call, chat, chinese, english, rules, run

SCHEMA = {
    "type": "object",
    "properties": {"城市": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["城市"],
}


@pytest.mark.parametrize(
    "answer",
    [
        '{"城市": "北京", "people": 3}',
        '```json\n{"a": [1, 2]}\n```',
        '[{"a": 1}]',
        "[Verse 1]\nThe furnace glows\n[Chorus]",
        "{x | x > 0} is the set.",
        "{{name}} is here",
        'An example:\n```json\n{"a": 1, ...}\n```',
        '```json\n{"a": 1}\n{"a": 2}\n```',
        '{"a": 1} is what the server returns when all goes well.',
    ],
)
def test_json_that_is_right_or_none(answer: str) -> None:
    assert rules(JsonAnswers(), chat("1", "Go", answer)) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"城市": "北京",}', ["invalid"]),
        ('{"a": "cut off', ["invalid"]),
        ('{"a": 1, "b": [1, 2}', ["invalid"]),
        ("```json\n{\"a\": '1'}\n```", ["invalid"]),
        ('{"a": 1, "a": 2}', ["repeated_key"]),
        ('{\u00a0\n"城市": "北京"}', ["invalid"]),
        ('结果如下：\n```json\n{"a": }\n```\n完毕。', ["block_invalid"]),
    ],
)
def test_json_that_is_broken(answer: str, expected: list[str]) -> None:
    assert rules(JsonAnswers(), chat("1", "Go", answer)) == expected


def test_json_against_a_schema() -> None:
    context = Context(schemas={"json/city": SCHEMA})
    answers = ['{"城市": "北京"}', '{"people": 3}', '{"城市": 7}', "北京。"]
    given = [chat(str(k), "Go", answer, "json/city") for k, answer in enumerate(answers)]
    found, verdicts = run(JsonAnswers(), given, context)
    assert [(one.record_id, one.rule) for one in found] == [
        ("1", "schema"),
        ("2", "schema"),
        ("3", "not_json"),
    ]
    assert '"城市" is a required property' in found[0].detail
    assert found[1].detail.startswith("城市: ")
    assert verdicts["json/city"].figures["json_share"] == 0.75
    broken = Context(schemas={"json/city": {"type": 7}})
    assert "is broken" in run(JsonAnswers(), given[:1], broken)[0][0].detail
    afar = Context(schemas={"json/city": {"$ref": "https://example.com/schema.json"}})
    assert "is not fetched" in run(JsonAnswers(), given[:1], afar)[0][0].detail


def test_prose_where_nearly_all_answers_are_json() -> None:
    given = [chat(str(k), "Go", f'{{"n": {k}}}') for k in range(40)]
    odd = [chat("odd", "Go", "It is 7."), chat("奇", "走", "是七。")]
    for order in ([*odd, *given], [*given, *odd]):
        found, verdicts = run(JsonAnswers(), order)
        assert [(one.record_id, one.rule) for one in found] == [
            ("odd", "not_json"),
            ("奇", "not_json"),
        ]
        assert verdicts["a/b"].state == "fault"
    mixed = [chat(f"m{k}", "Go", "Prose.") for k in range(10)]
    assert rules(JsonAnswers(), [*given, *mixed]) == []
    verdicts = run(JsonAnswers(), [*english(40), *chinese(40)])[1]
    assert {one.state for one in verdicts.values()} == {"exempt"}


def block(code: str, language: str = "python") -> str:
    return f"看这里 / see:\n```{language}\n{code}\n```\nDone."


@pytest.mark.parametrize(
    "answer",
    [
        block("def f(x):\n    return x + 1"),
        block("    print('缩进')\n    x = 1"),
        block(">>> 1 +\n2"),
        block("!pip install x\n%time f()\nx = 1"),
        block("print 'no python'", "text"),
        block("x = '\\d'"),
        "No code at all.",
    ],
)
def test_code_that_compiles_or_is_none(answer: str) -> None:
    assert rules(CodeBlocks(), chat("1", "Go", answer)) == []


@pytest.mark.parametrize(
    ("answer", "expected", "detail"),
    [
        (block("print 'hello'"), ["python_invalid"], "line 1: Missing parentheses"),
        (block("if x:\nreturn 1"), ["python_invalid"], "expected an indented block"),
        (block("变量 = （1，2）", "py"), ["python_invalid"], "invalid character"),
        ("下面是代码：\n```python\nx = 1", ["fence_open"], "```python"),
        ("Here:\n```\nx = 1\n```\nand\n```sql\nselect", ["fence_open"], "```sql"),
    ],
)
def test_code_that_does_not(answer: str, expected: list[str], detail: str) -> None:
    found, _ = run(CodeBlocks(), [chat("1", "Go", answer)])
    assert [one.rule for one in found] == expected
    assert detail in found[0].detail


ENGLISH = "Which is a metal?\n(A) wood\n(B) iron\n(C) silk"
乙 = "下列哪个是金属？\n甲、木头\n乙、铁\n丙、丝绸"
圈 = "下列哪个是金属？ ①木头 ②铁 ③丝绸"


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (ENGLISH, "B"),
        (ENGLISH, "(B) iron"),
        (ENGLISH, "B. Iron."),
        (ENGLISH, "iron"),
        (ENGLISH, "The answer is (B)."),
        (ENGLISH, "A metal conducts; so the answer is B."),
        (ENGLISH, "b) iron"),
        (ENGLISH, "A, C"),
        (乙, "乙"),
        (乙, "乙、铁"),
        (乙, "答案是乙。"),
        (乙, "铁"),
        (乙, "应选乙，因为铁是金属。"),
        (圈, "②"),
        ("A. B. Smith wrote it.", "Who knows?"),
        ("Tell me about vitamin B.", "E"),
        (ENGLISH, "Iron is a metal because it conducts " * 3),
    ],
)
def test_choices_that_are_offered(prompt: str, answer: str) -> None:
    assert rules(Choices(), chat("1", prompt, answer)) == []


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        (ENGLISH, "D", "not_offered"),
        (ENGLISH, "The correct answer is: E.", "not_offered"),
        (ENGLISH, "A, F", "not_offered"),
        (乙, "丁", "not_offered"),
        (乙, "答案为：戊", "not_offered"),
        (乙, "B", "not_offered"),
        (圈, "④", "not_offered"),
        (ENGLISH, "A. iron", "text_of_another"),
        (乙, "甲、铁", "text_of_another"),
        (ENGLISH, "No", "not_an_option"),
        (乙, "石头", "not_an_option"),
        (ENGLISH, "D<|endoftext|>", "not_offered"),
    ],
)
def test_choices_that_are_not(prompt: str, answer: str, expected: str) -> None:
    assert rules(Choices(), chat("1", prompt, answer)) == [expected]


def test_declared_labels() -> None:
    context = Context(closed_labels={"a/b": ["Positive", "Negative"], "甲/乙": ["正面", "负面"]})
    given = [
        chat("1", "x", "positive."),
        chat("2", "x", "neutral"),
        chat("3", "x", "负面。", "甲/乙"),
        chat("4", "x", "中性", "甲/乙"),
    ]
    found, verdicts = run(Choices(), given, context)
    assert [(one.record_id, one.rule) for one in found] == [
        ("2", "label_not_declared"),
        ("4", "label_not_declared"),
    ]
    assert found[0].limit == "negative, positive"
    assert verdicts["甲/乙"].state == "fault"


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["北京", "Paris"]},
                "days": {"type": "integer"},
            },
            "required": ["city"],
        },
    },
}


@pytest.mark.parametrize(
    ("calling", "expected"),
    [
        (call("weather", '{"city": "北京", "days": 3}'), []),
        (call("weather", {"city": "Paris"}), []),
        (call("whether", "{}"), ["not_declared"]),
        (call("weather", '{"city": "Paris"'), ["arguments_invalid"]),
        (call("weather", "[1]"), ["arguments_invalid"]),
        (call("weather", '{"days": 3}'), ["argument_missing"]),
        (call("weather", '{"city": "Paris", "天数": 3}'), ["argument_unknown"]),
        (call("weather", '{"city": "Paris", "days": "three"}'), ["argument_mismatch"]),
        (call("weather", '{"city": "巴黎"}'), ["argument_mismatch"]),
    ],
)
def test_tool_calls(calling: dict[str, object], expected: list[str]) -> None:
    messages = (Message("user", "Hi"), Message("assistant", None, extra={"tool_calls": [calling]}))
    assert rules(ToolCalls(), Record("1", "a/b", messages, tools=(WEATHER,))) == expected


def test_tool_declarations() -> None:
    messages = (Message("user", "天气？"), Message("assistant", "晴。"))
    broken = {"name": "f", "parameters": {"type": "any old thing"}}
    assert rules(ToolCalls(), Record("1", "a/b", messages, tools=(broken,))) == [
        "declaration_invalid"
    ]
    for odd in ({"name": ["f"], "parameters": 7}, {"function": {"parameters": ["x"]}}):
        assert rules(ToolCalls(), Record("1", "a/b", messages, tools=(odd,))) == [
            "declaration_invalid"
        ]
    strange = Message("assistant", None, extra={"tool_calls": ["f", {"function": 3}]})
    assert rules(ToolCalls(), Record("1", "a/b", (messages[0], strange), tools=(WEATHER,))) == [
        "arguments_invalid"
    ]
    calls = Message("assistant", None, extra={"tool_calls": [call("f", "{}")]})
    assert rules(ToolCalls(), Record("1", "a/b", (messages[0], calls))) == ["no_declarations"]
    assert run(ToolCalls(), [chat("1")])[1]["a/b"].state == "exempt"


def test_own_functions(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def check_source(record):\n    if '[1]' not in record.messages[-1].content:\n"
        "        return '没有来源'\n"
        "def check_short(record):\n    if len(record.messages[-1].content) > 9:\n"
        "        return 'too long'\n"
        "def helper(record):\n    raise RuntimeError\n",
        "utf-8",
    )
    given = [chat("1", "q", "ok [1]"), chat("2", "q", "no"), chat("3", "q", "neither of both")]
    found, _ = run(OwnChecks(str(file)), given)
    assert [(one.record_id, one.value, one.detail) for one in found] == [
        ("2", "source", "没有来源"),
        ("3", "source, short", "没有来源; too long"),
    ]
    assert run(OwnChecks(), given)[1]["a/b"].state == "exempt"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1", "no function begins with check_"),
        ("x =", "cannot be loaded: .*SyntaxError"),
        ("def check_a(r):\n    return 1 / 0", r"check_a failed: ZeroDivisionError.*\(line 2\)"),
        ("def check_a(r):\n    return 3", "check_a returned 3; it must be text"),
    ],
)
def test_own_functions_that_fail(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text, "utf-8")
    with pytest.raises(DanluError, match=f"(?s){expected}"):
        run(OwnChecks(str(file)), [chat("7")])
    with pytest.raises(DanluError, match="no such Python file"):
        run(OwnChecks(str(tmp_path / "none.py")), [])


@pytest.mark.parametrize(
    "answer", ["[" * 100_000, '{"a":' * 3000, '{"a": ' + "1" * 5000 + "}"], ids=["[", "{", "1"]
)
def test_answers_that_never_end_are_found_and_end_nothing(answer: str) -> None:
    assert rules(JsonAnswers(), chat("1", "Go", answer)) == ["invalid"]
    message = Message("assistant", None, extra={"tool_calls": [call("f", answer)]})
    record = Record("1", "a/b", (Message("user", "Go"), message))
    assert rules(ToolCalls(), record) == ["arguments_invalid"]
