"""``tools`` with declarations of one's own: taken is only what code finds right."""

import json

import pytest

from danlu.errors import DanluError
from danlu.workshop.produce.abilities.own_tools import OwnTools, read_declarations
from danlu.workshop.produce.common import answer_of, prompt_of
from danlu.workshop.produce.expectation import expectation_of
from tests.workshop.produce.asking import decided, made, speaking

TOOL = {
    "name": "book_table",
    "description": "Book a table.",
    "parameters": {
        "type": "object",
        "properties": {"guests": {"type": "integer"}, "day": {"type": "string"}},
        "required": ["guests", "day"],
    },
}


@pytest.fixture
def tools(tmp_path):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps({"tools": [{"type": "function", "function": TOOL}]}), "utf-8")
    return tuple(read_declarations(path))


def model(**instead):
    def says(text, body):
        chinese = "请" in text or "用户" in text
        if "An assistant has" in text or "助手有" in text:
            request = "请订四人桌，周五" if chinese else "A table for 4 on Friday, please"
            row = {"request": request, "arguments": {"guests": 4, "day": "Friday"}}
            return instead.get("request", f"```json\n{json.dumps(row, ensure_ascii=False)}\n```")
        if "A user writes" in text or "用户写道" in text:
            return instead.get("call", 'The call: {"day": "Friday", "guests": 4.0}')
        if "Play this tool" in text or "请扮演" in text:
            return instead.get("result", '{"table": "T17", "seats": 4}')
        if "error" in text:
            return "抱歉，没有成功。" if chinese else "Sorry, that failed."
        return instead.get("answer", "好的，桌号 T17。" if chinese else "Done, table T17 is yours.")

    return says


def test_every_step_is_checked_and_becomes_a_conversation(tools, tmp_path):
    with speaking(model(), tmp_path) as (engine, _):
        found = made(decided(OwnTools(engine, tools, count=4)))
    assert [record.task_type for record in found] == ["tools/one_call"] * 2 + ["tools/failing"] * 2
    for record in found:
        _, call, result, _ = record.messages
        [function] = [one["function"] for one in call.extra["tool_calls"]]
        assert function == {"name": "book_table", "arguments": '{"guests": 4, "day": "Friday"}'}
        assert json.loads(result.content)
        assert record.tools == tools
        for row in record.meta["expectations"]:
            assert expectation_of(row).problem(answer_of(record)) is None
    assert found[0].meta["expectations"][1] == {"kind": "mentions", "value": ["T17"]}
    assert prompt_of(found[1]) == "A table for 4 on Friday, please"
    assert "error" in found[2].messages[2].content


@pytest.mark.parametrize(
    ("step", "text", "rule"),
    [
        ("request", "No idea", "request: no JSON with a request"),
        ("request", '{"request": "Hi", "arguments": 3}', "request: the arguments are no object"),
        (
            "request",
            '{"request": "Hi", "arguments": {"guests": "four", "day": "x"}}',
            "request: the arguments do not match the declaration",
        ),
        (
            "request",
            '{"request": "Hi", "arguments": {"guests": 4, "day": "x", "city": "y"}}',
            "request: an argument is not declared",
        ),
        (
            "request",
            '{"request": "你好，四个人", "arguments": {"guests": 4, "day": "x"}}',
            "request: another language",
        ),
        ("call", '{"day": "Friday", "guests": 5}', "request: its call is not clear"),
        ("result", "It is booked", "result: no JSON object"),
        ("answer", "It is booked", "answer: names nothing of the result"),
        ("answer", 'T17 {"name": 1}\n<tool_call>{}</tool_call>', "answer: not as expected"),
    ],
)
def test_what_does_not_hold_is_rejected(step, text, rule, tools, tmp_path):
    with speaking(model(**{step: text}), tmp_path) as (engine, _):
        work = OwnTools(engine, tools, count=1, cases=("one_call",), languages=("en",))
        assert made(decided(work)) == []
    assert work.rejects.counts() == {rule: 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "a list of declarations"),
        ('[{"description": "x"}]', "tool 1 has no name"),
        ('[{"name": "a"}, {"name": "a"}]', "'a' is declared twice"),
        ('[{"name": "a", "parameters": {"type": "objekt"}}]', "are no schema"),
        ('[{"name": "a", "parameters": 3}]', "are no object"),
    ],
)
def test_broken_declarations_are_told(text, told, tmp_path):
    (tmp_path / "t.json").write_text(text, "utf-8")
    with pytest.raises(DanluError, match=told):
        read_declarations(tmp_path / "t.json")


def test_mistakes_are_told(tools, tmp_path):
    with pytest.raises(DanluError, match="no such file of tools"):
        read_declarations(tmp_path / "none.json")
    with pytest.raises(DanluError, match="only one_call and failing"):
        OwnTools(None, tools, cases=("no_call",))
