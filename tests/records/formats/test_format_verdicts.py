"""preference and labelled: answers that are compared or judged."""

from __future__ import annotations

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
