"""Reasoning traces: kept, dropped, or only in the last answer."""

import pytest

from danlu.config.recipe import SequencesSection
from danlu.records.record import Message, Record
from danlu.sequences.branches import turns
from danlu.sequences.reasoning import with_reasoning
from danlu.sequences.template import ChatTemplate

TALK = (
    Message("user", "2+2? <think> is a tag"),
    Message("assistant", "<think>\nTwo twos.\n</think>\n\n4", extra={"name": "a"}),
    Message("user", "And 3+3?"),
    Message("assistant", "6", extra={"reasoning_content": "Two threes.", "name": "b"}),
)


@pytest.mark.parametrize(
    ("setting", "contents", "last_extra"),
    [
        ("keep", [TALK[1].content, "6"], {"reasoning_content": "Two threes.", "name": "b"}),
        ("last", ["4", "6"], {"reasoning_content": "Two threes.", "name": "b"}),
        ("drop", ["4", "6"], {"name": "b"}),
    ],
)
def test_what_is_left(setting, contents, last_extra):
    left = with_reasoning(TALK, setting)
    assert [message.content for message in left[1::2]] == contents
    assert left[0] == TALK[0]
    assert left[1].extra == {"name": "a"}
    assert left[3].extra == last_extra


def test_text_that_only_mentions_the_tag_stays():
    inside = Message("assistant", "Write <think> here, then </think>.")
    open_ended = Message("assistant", "<think>never closed")
    assert with_reasoning([inside, open_ended], "drop") == (inside, open_ended)


def test_branches_follow_the_setting(tiny_tokenizer):
    template = ChatTemplate.load(tiny_tokenizer, "chatml")
    record = Record("r", "a/b", (*TALK[:2], TALK[2], Message("assistant", "<think>x</think>6")))
    texts = turns(record, template, SequencesSection(reasoning="last"))
    assert "<think>" not in texts[0].completion_text
    assert texts[1].completion_text.startswith("<think>x</think>6")
    assert "Two twos" not in texts[1].prompt_text


def test_an_answer_of_nothing_but_reasoning_is_dropped(tiny_tokenizer):
    template = ChatTemplate.load(tiny_tokenizer, "chatml")
    record = Record("r", "a/b", (TALK[0], Message("assistant", "<think>x</think>")))
    assert turns(record, template, SequencesSection(reasoning="drop")) == []
