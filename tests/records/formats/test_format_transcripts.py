"""Transcripts (Human: ... Assistant: ...) inside of preference pairs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RecordError
from danlu.records import Message, Response, read_records
from danlu.records.formats import recognise
from danlu.records.formats.preference import PREFERENCE
from danlu.records.formats.transcript import is_transcript, read_transcript

START = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Who are you?\n\nAssistant:"
HISTORY = (Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "Who are you?"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n\nHuman: a\n\nAssistant: b", True),
        ("Human: a\n\nAssistant:", True),
        ("  Human:a\n\n\n \n\nAssistant:b", True),
        ("Human: a\r\n\r\nAssistant: b", True),
        ("Human: a\nAssistant: b", False),  # no blank line before the mark
        ("Human: who is that?", False),
        ("Hello!\n\nHuman: a\n\nAssistant: b", False),
        ("Assistant: a\n\nHuman: b\n\nAssistant: c", False),
        ("Humans: a\n\nAssistant: b", False),
        ("Human: a\n\nAssistants: b", False),
        ("", False),
    ],
)
def test_what_is_a_transcript(text: str, expected: bool) -> None:
    assert is_transcript(text) is expected


def test_a_transcript_by_hand() -> None:
    """Blank lines inside of a turn stay; those around it belong to the transcript."""
    text = (
        "\n\nHuman: One.\n\nTwo.\n\n\n\nAssistant:  Human: is a word \n\nHuman:\n\nAssistant: end\n"
    )
    assert read_transcript(text) == (
        Message("user", "One.\n\nTwo."),
        Message("assistant", "Human: is a word"),
        Message("user", ""),
        Message("assistant", "end"),
    )


def test_a_transcript_with_the_line_ends_of_windows() -> None:
    text = "Human: One.\r\nTwo.\r\n\r\nAssistant: Three.\r\n"
    assert read_transcript(text) == (
        Message("user", "One.\r\nTwo."),
        Message("assistant", "Three."),
    )


turn = st.tuples(
    st.sampled_from(["Human", "Assistant"]),
    # Texts that hold no mark of their own and begin and end with something.
    st.text(st.sampled_from("ab:\n 丹HA")).map(str.strip),
)


@given(
    first=turn.map(lambda one: ("Human", one[1])),
    others=st.lists(turn, max_size=5),
    gap=st.sampled_from(["\n\n", "\n \n", "\n\n\n", "\r\n\r\n"]),
)
def test_what_is_written_reads_back(
    first: tuple[str, str], others: list[tuple[str, str]], gap: str
) -> None:
    turns = [first, *others, ("Assistant", "z")]
    text = gap.join(f"{speaker}: {content}" for speaker, content in turns)
    assert is_transcript(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    assert read_transcript(text) == tuple(Message(roles[s], content) for s, content in turns)


def test_a_pair_of_transcripts() -> None:
    """As in hh-rlhf: both hold the whole conversation and part in the last answer."""
    row = {"chosen": f"{START} A model.", "rejected": f"{START} None of your business.\n"}
    assert recognise(row) is PREFERENCE
    parts = PREFERENCE.parse(row)
    assert parts.messages == HISTORY
    assert parts.responses == (Response("A model.", 1), Response("None of your business.", 2))
    assert row == {}


def test_a_prompt_that_is_a_transcript() -> None:
    """The mark at its end only asks for the answer; a turn that says something stays."""
    row = {"prompt": START, "chosen": "A model.", "rejected": " None of your business."}
    parts = PREFERENCE.parse(row)
    assert parts.messages == HISTORY
    assert parts.responses == (Response("A model.", 1), Response(" None of your business.", 2))
    said = f"{START} I am"
    row = {"prompt": said, "chosen": " a model.", "rejected": " nobody."}
    assert PREFERENCE.parse(row).messages == (*HISTORY, Message("assistant", "I am"))


def test_a_system_message_goes_before_a_transcript() -> None:
    row = {"system": "Be kind.", "chosen": f"{START} A.", "rejected": f"{START} B."}
    assert PREFERENCE.parse(row).messages == (Message("system", "Be kind."), *HISTORY)


def test_a_prompt_beside_whole_conversations_is_kept() -> None:
    row = {"prompt": "Who are you?", "chosen": f"{START} A.", "rejected": f"{START} B."}
    assert PREFERENCE.parse(row).messages == HISTORY
    assert row == {"prompt": "Who are you?"}


def test_an_empty_answer_is_an_answer() -> None:
    parts = PREFERENCE.parse({"chosen": f"{START} A.", "rejected": START})
    assert parts.responses == (Response("A.", 1), Response("", 2))


def test_a_text_that_only_speaks_of_humans_is_an_answer() -> None:
    row = {"prompt": "Who goes there?", "chosen": "Human: me.", "rejected": "Nobody."}
    assert PREFERENCE.parse(row).responses == (Response("Human: me.", 1), Response("Nobody.", 2))


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (
            f"{START} A.\n\nHuman: Thanks.",
            f"{START} B.",
            "the transcript in 'chosen' must end in an Assistant's turn.",
        ),
        (
            f"{START} A.",
            f"{START} B.\n\nHuman: Thanks.",
            "the transcript in 'rejected' must end in an Assistant's turn.",
        ),
        (
            f"{START} A.",
            f"{START} B.\n\nHuman: Why?\n\nAssistant: C.",
            "'chosen' and 'rejected' do not answer the same conversation: they share 3 of 3 and 5 "
            "messages before the answers. Pairs must part in the last answer alone: cut both at "
            "the first that differs, or pass such rows over with data.on_bad_record: skip.",
        ),
        (
            f"{START} A.",
            "\n\nHuman: Hi\n\nAssistant: Go away.\n\nHuman: Who are you?\n\nAssistant: B.",
            "'chosen' and 'rejected' do not answer the same conversation: they share 1 of 3 and 3 "
            "messages before the answers. Pairs must part in the last answer alone: cut both at "
            "the first that differs, or pass such rows over with data.on_bad_record: skip.",
        ),
        (
            f"{START} A.",
            "B.",
            "'chosen' and 'rejected' do not answer the same conversation: they share 0 of 3 and 0 "
            "messages before the answers. Pairs must part in the last answer alone: cut both at "
            "the first that differs, or pass such rows over with data.on_bad_record: skip.",
        ),
    ],
)
def test_broken_pairs_of_transcripts(chosen: str, rejected: str, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        PREFERENCE.parse({"chosen": chosen, "rejected": rejected})
    assert str(caught.value) == reason


def test_a_compressed_file_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as out:
        for number in range(3):
            row = {"chosen": f"{START} {number}", "rejected": f"{START} no"}
            out.write(json.dumps(row) + "\n")
        out.write(json.dumps({"chosen": f"{START} x\n\nHuman: y", "rejected": START}) + "\n")
    reading = read_records(path, on_bad_record="skip")
    assert [record.responses[0].content for record in reading] == ["0", "1", "2"]
    assert reading.rejected_count == 1
    with pytest.raises(RecordError) as caught:
        list(read_records(path))
    assert caught.value.where == f"{path}:4"
