"""prompt_completion and question_answer: one question, one answer."""

from __future__ import annotations

import pytest

from danlu.errors import RecordError
from danlu.records import Message
from danlu.records.formats import recognise
from danlu.records.formats.prompt_completion import PROMPT_COMPLETION
from danlu.records.formats.question_answer import PAIRS, QUESTION_ANSWER


def test_two_texts() -> None:
    row = {"prompt": "法国的首都？\n", "completion": " 巴黎", "system": "答。"}
    assert PROMPT_COMPLETION.parse(row).messages == (
        Message("system", "答。"),
        Message("user", "法国的首都？\n"),
        Message("assistant", " 巴黎"),
    )


def test_two_lists_of_messages_of_which_the_prompt_is_not_trained() -> None:
    row = {
        "prompt": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
        "completion": [{"role": "assistant", "content": "d"}],
        "tools": [{"name": "f"}],
    }
    parts = PROMPT_COMPLETION.parse(row)
    assert parts.messages == (
        Message("user", "a"),
        Message("assistant", "b", 0.0),
        Message("user", "c"),
        Message("assistant", "d"),
    )
    assert parts.tools == ({"type": "function", "function": {"name": "f"}},)


def test_a_completion_that_is_one_message() -> None:
    row = {"prompt": "a", "completion": {"role": "assistant", "content": "b"}}
    assert PROMPT_COMPLETION.parse(row).messages == (
        Message("user", "a"),
        Message("assistant", "b"),
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "completion": None}, "the column 'completion' is null"),
        ({"prompt": 1, "completion": "b"}, "the column 'prompt' is a number"),
        ({"prompt": ["a"], "completion": "b"}, "message 1 is text"),
    ],
)
def test_broken_prompts(row: dict[str, object], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        PROMPT_COMPLETION.parse(row)


@pytest.mark.parametrize(("question", "answer"), PAIRS)
def test_the_usual_names(question: str, answer: str) -> None:
    row = {question: "q", answer: "a", "level": "easy"}
    assert recognise(row) is QUESTION_ANSWER
    assert QUESTION_ANSWER.parse(row).messages == (Message("user", "q"), Message("assistant", "a"))
    assert row == {"level": "easy"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "q", "answer": 4}, "'answer' is a number"),
        ({"question": "q"}, "the column 'answer' is missing"),
        ({"题目": "q", "解": "a"}, "columns '题目', '解'; say which is which"),
        (
            {"question": "a", "answer": "b", "input": "c", "output": "d"},
            "more than one question and answer .question/answer, input/output.",
        ),
    ],
)
def test_broken_questions(row: dict[str, object], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        QUESTION_ANSWER.parse(row)
