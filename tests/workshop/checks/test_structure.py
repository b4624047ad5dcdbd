"""Roles, their order, empty turns, results of tools."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.records import Message, Record, Response
from danlu.sequences import ChatTemplate
from danlu.workshop.checks import Context, Structure
from tests.workshop.checks.trying import call, chat, chinese, english, rules, run, talk

USER, ANSWER = Message("user", "Hi"), Message("assistant", "Hello")
CALL = Message("assistant", None, extra={"tool_calls": [call("f", "{}", "c1")]})
RESULT = Message("tool", "42", extra={"tool_call_id": "c1"})


def record(*messages: Message, **more: Any) -> Record:
    return Record("1", "a/b", messages, **more)


@pytest.mark.parametrize(
    "good",
    [
        record(USER, ANSWER),
        record(Message("system", "Be kind."), USER, ANSWER, USER, ANSWER),
        record(
            Message("system", "友善一些。"), Message("user", "你好"), Message("assistant", "您好")
        ),
        record(USER, CALL, RESULT, RESULT, ANSWER),
        record(USER, CALL),
        record(USER, responses=(Response("a", rank=1), Response("b", rank=2))),
        record(Message("text", "Mercury is a metal.")),
        record(USER, Message("assistant", "", extra={"reasoning_content": "Hm."})),
    ],
)
def test_good_conversations(good: Record) -> None:
    assert rules(Structure(), good) == []


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (record(USER, Message("assistant", " \n\u3000")), ["empty_turn"]),
        (record(USER, ANSWER, USER), ["last_not_assistant"]),
        (record(USER, USER, ANSWER), ["same_role_twice"]),
        (record(ANSWER, USER, ANSWER), ["assistant_first"]),
        (record(ANSWER), ["no_user"]),
        (record(Message("system", "x"), ANSWER), ["no_user"]),
        (
            record(USER, ANSWER, Message("system", "换一种语气。"), USER, ANSWER),
            ["system_not_first"],
        ),
        (record(USER, RESULT, ANSWER), ["result_without_call"]),
        (record(USER, CALL, ANSWER), ["same_role_twice", "call_without_result"]),
        (
            record(USER, CALL, Message("tool", "1", extra={"tool_call_id": "c9"}), ANSWER),
            ["result_without_call"],
        ),
        (record(Message("旁白", "夜里"), USER, ANSWER), ["unusual_role"]),
        (record(USER, ANSWER, responses=(Response("a", rank=1),)), ["same_role_twice"]),
    ],
)
def test_faults(bad: Record, expected: list[str]) -> None:
    assert rules(Structure(), bad) == expected


def test_verdicts() -> None:
    found, verdicts = run(
        Structure(),
        [
            *english(40, "a/good"),
            *chinese(40, "甲/好"),
            chat("x", "Hi", "", "c/bad"),
            Record("t", "d/text", (Message("text", "plain"),)),
        ],
    )
    assert {name: one.state for name, one in verdicts.items()} == {
        "a/good": "ok",
        "甲/好": "ok",
        "c/bad": "fault",
        "d/text": "exempt",
    }
    assert found[0].detail == "message 2 (assistant)"
    assert verdicts["c/bad"].figures == {"records": 1, "empty_turn": 1}
    assert verdicts["c/bad"].advice.startswith("1 of 1 records: a turn has no text")


def test_a_template_that_refuses(tokenizer_maker: Any) -> None:
    strict = (
        "{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('no system prompt here') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    tokenizer = tokenizer_maker(strict)
    context = Context(tokenizer=tokenizer, template=ChatTemplate.load(tokenizer))
    with_system = talk("1", "Hi", "Hello", system="Be kind.")
    [finding], _ = run(Structure(), [with_system, talk("2", "Hi", "Hello")], context)
    assert (finding.rule, finding.record_id) == ("template_refuses", "1")
    assert "no system prompt here" in finding.detail
