"""chatml and text: all that a row has is one text."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from danlu.errors import RecordError
from danlu.records import Message
from danlu.records.formats.chatml import CHATML
from danlu.records.formats.text import TEXT


def test_contents_stay_to_the_character() -> None:
    text = (
        "\n<|im_start|>system\n<|im_end|>\n"
        "<|im_start|>user\n 问？ \n\n<|im_end|><|im_start|>assistant\n答。<|im_end|><|endoftext|>\n"
    )
    assert CHATML.parse({"text": text}).messages == (
        Message("system", ""),
        Message("user", " 问？ \n\n"),
        Message("assistant", "答。"),
    )


# A shared machine or a slow disk is no fault: no deadline, and no check of how fast examples come.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

contents = st.text().filter(lambda text: "<|im_" not in text)


@patient
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "旁白"]), contents), min_size=1))
def test_what_is_rendered_reads_back(turns: list[tuple[str, str]]) -> None:
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    expected = tuple(Message(role, content) for role, content in turns)
    assert CHATML.parse({"text": text}).messages == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<|im_start|>user\nHi", "'<|im_start|>user\\nHi' is not closed"),
        ("<|im_start|>user Hi<|im_end|>", "is not closed"),
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "is not closed"),
        ("<|im_start|>user\nHi\n<|im_start|>user\nHi<|im_end|>", "is not closed"),
        ("<|im_start|>user\nHi<|im_end|> and so on", "'and so on' stands outside"),
        ("Hi", "'Hi' stands outside"),
    ],
)
def test_broken_chatml(text: str, reason: str) -> None:
    with pytest.raises(RecordError, match=re.escape(reason)):
        CHATML.parse({"text": text})


def test_a_document() -> None:
    row = {"text": "First paragraph.\n\nSecond.\n", "url": "u"}
    assert TEXT.parse(row).messages == (Message("text", "First paragraph.\n\nSecond.\n"),)
    assert row == {"url": "u"}


def test_a_document_that_is_no_text() -> None:
    with pytest.raises(RecordError, match="'text' is a list"):
        TEXT.parse({"text": ["a"]})
