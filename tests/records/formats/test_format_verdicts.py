"""preference and labelled: answers that are compared or judged."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.errors import RecordError
from danlu.records import Message, Response
from danlu.records.formats import recognise
from danlu.records.formats.labelled import LABELLED
from danlu.records.formats.preference import PREFERENCE

BOTH = (Response("good", 1), Response("bad", 2))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "good", "rejected": "bad"},
        {"question": "Hi", "chosen": "good", "rejected": "bad"},
        {"instruction": "Hi", "input": "", "chosen": "good", "rejected": "bad"},
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        },
        {
            "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "good"}],
            "rejected": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "bad"},
            ],
        },
    ],
)
def test_every_way_to_write_a_pair(row: dict[str, object]) -> None:
    assert recognise(row) is PREFERENCE
    parts = PREFERENCE.parse(row)
    assert parts.messages == (Message("user", "Hi"),)
    assert parts.responses == BOTH
    assert row == {}


def test_scores_system_and_history() -> None:
    row = {
        "instruction": "c",
        "history": [["a", "b"]],
        "system": "s",
        "chosen": "good",
        "rejected": "bad",
        "score_chosen": 8,
        "score_rejected": 2.5,
        "margin": 5.5,
    }
    parts = PREFERENCE.parse(row)
    assert [message.content for message in parts.messages] == ["s", "a", "b", "c"]
    assert parts.responses == (Response("good", 1, 8.0), Response("bad", 2, 2.5))
    assert row == {"margin": 5.5}


ANSWER = {"role": "assistant", "content": "x"}
ASKED = {"role": "user", "content": "q"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "a", "rejected": "b"}, "no conversation before 'chosen'"),
        ({"prompt": "p", "chosen": 1, "rejected": "b"}, "'chosen' is a number"),
        ({"prompt": "p", "chosen": "a", "rejected": []}, "'rejected' is a list"),
        ({"prompt": "p", "chosen": [ASKED], "rejected": "b"}, "must end in an assistant's"),
        ({"prompt": "p", "chosen": [ANSWER, ANSWER], "rejected": "b"}, "is one message"),
        (
            {"chosen": [ASKED, ANSWER], "rejected": [{**ASKED, "content": "r"}, ANSWER]},
            "do not answer the same conversation",
        ),
        (
            {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": "high"},
            "score of 'chosen' is 'high'",
        ),
    ],
)
def test_broken_pairs(row: dict[str, object], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        PREFERENCE.parse(row)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Hello", "label": True},
        {"instruction": "Hi", "output": "Hello", "label": True},
        {"question": "Hi", "answer": "Hello", "label": True},
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"},
            ],
            "label": True,
        },
        {
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
            "label": True,
        },
    ],
)
def test_every_way_to_write_a_verdict(row: dict[str, object]) -> None:
    assert recognise(row) is LABELLED
    parts = LABELLED.parse(row)
    assert parts.messages == (Message("user", "Hi"),)
    assert parts.responses == (Response("Hello", label=True),)
    assert row == {}


def test_a_label_that_is_a_class_is_another_column() -> None:
    assert (
        recognise({"prompt": "Hi", "completion": "Hello", "label": 3}).name == "prompt_completion"
    )
    assert recognise({"text": "A fine film.", "label": True}).name == "text"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "completion": "b", "label": "yes"}, "'label' is 'yes'"),
        ({"essay": "a", "label": True}, "no conversation beside 'label'; the row has columns"),
        ({"messages": [ASKED], "label": True}, "must end in an assistant's message"),
        ({"messages": [], "label": True}, "must end in an assistant's message"),
    ],
)
def test_broken_verdicts(row: dict[str, object], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        LABELLED.parse(row)


CLASSES = [0, 1, True, "up", "0"]


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize(
    ("row", "known"),
    [
        ({"text": "A fine film."}, "text"),
        ({"content": "A fine film."}, "text"),
        ({"text": "<|im_start|>user\nHi<|im_end|>"}, "chatml"),
        ({"messages": [{"role": "user", "content": "Is it open today?"}]}, "openai"),
        ({"conversations": [{"from": "human", "value": "Is it open today?"}]}, "sharegpt"),
        (
            {"messages": [{"role": "user", "content": "Is it open?"}], "task_type": "route/need"},
            "danlu",
        ),
        ({"messages": '[{"role": "user", "content": "Is it open today?"}]'}, "openai"),
    ],
)
def test_the_class_of_a_text_is_no_verdict(row: dict[str, Any], known: str, label: Any) -> None:
    """A classifier's row; the label is kept beside the text."""
    given = {**row, "label": label}
    assert recognise(given).name == known
    recognise(given).parse(given)
    assert given["label"] == label


@pytest.mark.parametrize(
    "row",
    [
        {"sentence": "A fine film.", "label": 1},
        {"premise": "It rains.", "hypothesis": "It is wet.", "label": 0},
    ],
)
def test_a_classifiers_row_without_a_text_column_is_not_guessed_at(row: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="no format is recognised: the row has columns"):
        recognise(row)


@pytest.mark.parametrize("label", [2, -1, 0.5, "yes", "positive", None, [1], "neutral"])
def test_labels_that_are_no_verdict_stay_a_column(label: Any) -> None:
    row = {"prompt": "Hi", "completion": "Hello", "label": label}
    assert recognise(row).name == "prompt_completion"
    recognise(row).parse(row)
    assert row == {"label": label}


@pytest.mark.parametrize(
    ("label", "verdict"),
    [(True, True), (0, False), (1.0, True), ("Up", True), (" down ", False), ("FALSE", False)],
)
def test_ways_to_write_thumbs(label: Any, verdict: bool) -> None:
    row = {"prompt": "Hi", "completion": "Hello", "label": label}
    assert recognise(row) is LABELLED
    assert LABELLED.parse(row).responses == (Response("Hello", label=verdict),)


def test_a_record_of_danlu_may_be_judged_from_outside() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    row = {"messages": messages, "tags": ["checked"], "label": "down"}
    assert recognise(row) is LABELLED
    assert LABELLED.parse(row).responses == (Response("Hello", label=False),)


def test_a_judged_answer_of_a_longer_conversation() -> None:
    row = {"instruction": "c", "history": [["a", "b"]], "output": "d", "label": 1, "user": 7}
    parts = LABELLED.parse(row)
    assert [message.content for message in parts.messages] == ["a", "b", "c"]
    assert parts.responses == (Response("d", label=True),)
    assert row == {"user": 7}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"prompt": "a", "completion": "b", "label": None},
            "'label' is null; it must be true or false, 1 or 0, or the text up or down.",
        ),
        (
            {"prompt": "a", "completion": "b", "label": [1]},
            "'label' is a list; it must be true or false, 1 or 0, or the text up or down.",
        ),
        (
            {"prompt": "a", "completion": "b", "label": 3},
            "'label' is 3; it must be true or false, 1 or 0, or the text up or down.",
        ),
        (
            {"prompt": "a", "label": 1},
            "there is no conversation beside 'label'; the row has columns 'prompt'.",
        ),
        (
            {"messages": [ASKED, {**ANSWER, "content": None, "tool_calls": []}], "label": 1},
            "message 2 (assistant) has no content.",
        ),
        (
            {"prompt": "a", "completion": [ASKED], "label": 1},
            "the conversation must end in an assistant's message with text.",
        ),
    ],
)
def test_what_is_wrong_with_a_verdict_word_for_word(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        LABELLED.parse(row)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"chosen": "a", "rejected": "b", "topic": "tea"},
            "there is no conversation before 'chosen' and 'rejected'; the row has columns 'topic'. "
            "Say where it is with columns: {prompt: ...}.",
        ),
        (
            {"prompt": "p", "chosen": 1, "rejected": "b"},
            "'chosen' is a number; it must be text or messages.",
        ),
        (
            {"prompt": "p", "chosen": "a", "rejected": None},
            "'rejected' is null; it must be text or messages.",
        ),
        (
            {"prompt": "p", "chosen": [ASKED], "rejected": "b"},
            "'chosen' must end in an assistant's message with text.",
        ),
        (
            {"prompt": "p", "chosen": "a", "rejected": [ANSWER, ANSWER, ANSWER]},
            "'rejected' has 3 messages; an answer is one message.",
        ),
        (
            {"prompt": "p", "chosen": "a", "rejected": "b", "score_rejected": True},
            "the score of 'rejected' is True; it must be a number.",
        ),
    ],
)
def test_what_is_wrong_with_a_pair_word_for_word(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        PREFERENCE.parse(row)
    assert str(caught.value) == reason
