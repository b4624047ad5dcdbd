"""The list of formats: each recognises its own sample and no other does."""

from __future__ import annotations

import copy

import pytest

from danlu.errors import RecordError
from danlu.records.check import check_messages
from danlu.records.formats import FORMATS, Format, by_name, check_columns, recognise
from danlu.records.formats.format import COMMON_COLUMNS

each_format = pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)


def test_names_are_unique() -> None:
    assert len({known.name for known in FORMATS}) == len(FORMATS) == 13


@each_format
def test_sample_is_recognised_parsed_and_used_up(known: Format) -> None:
    row = copy.deepcopy(dict(known.sample))
    assert recognise(row) is known
    assert set(row) <= {*known.columns, *COMMON_COLUMNS}
    check_messages(known.parse(row).messages)
    assert set(row) <= set(COMMON_COLUMNS)


@each_format
def test_columns_and_summary_are_described(known: Format) -> None:
    for text in (known.summary, *known.columns.values()):
        assert text.strip()
        assert text.endswith((".", "..."))


@each_format
def test_any_format_refuses_a_row_of_nothing_it_knows(known: Format) -> None:
    assert not known.recognise({"colour": "red"})
    with pytest.raises(RecordError):
        check_messages(known.parse({"colour": "red"}).messages)


def test_by_name() -> None:
    assert by_name("auto") is None
    assert by_name("alpaca") is FORMATS[3]
    with pytest.raises(RecordError, match=r"no format 'alpca'\. Did you mean 'alpaca'\?"):
        by_name("alpca")


def test_columns_of_a_mapping_must_be_parts() -> None:
    check_columns({"id": "nr", "completion": "answer"}, None)
    with pytest.raises(RecordError, match=r"'promt', which is no part\. Did you mean 'prompt'"):
        check_columns({"promt": "question"}, None)
    with pytest.raises(RecordError, match="'conversations'"):
        check_columns({"conversations": "dialog"}, by_name("alpaca"))


def test_none_recognised_says_what_was_seen_what_is_known_and_what_to_do() -> None:
    with pytest.raises(RecordError) as caught:
        recognise({"题目": "1 + 1", "解": "2"})
    for part in ("'题目', '解'", "alpaca", "sharegpt", "columns: {prompt:", "format:"):
        assert part in str(caught.value)


def test_more_than_one_recognised_is_refused() -> None:
    row = {"instruction": "a", "output": "b", "messages": [{"role": "user", "content": "c"}]}
    with pytest.raises(RecordError, match=r"could be openai and alpaca.*format: openai"):
        recognise(row)


@pytest.mark.parametrize("text", ["<|im_start|>user\nHi<|im_end|>", "Question: Hi"])
def test_a_rendered_text_beside_other_columns_gives_way(text: str) -> None:
    assert recognise({"instruction": "Hi", "output": "Hello", "text": text}).name == "alpaca"


def test_rows_one_level_deeper_give_a_hint() -> None:
    with pytest.raises(RecordError, match="If 'data' holds the rows"):
        recognise({"version": 1, "data": [{"instruction": "a", "output": "b"}]})
