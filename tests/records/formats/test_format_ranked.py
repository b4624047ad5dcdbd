"""ranked: several answers to one conversation, with ranks or scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RecordError
from danlu.records import Message, Response, Source, read_records
from danlu.records.formats import recognise
from danlu.records.formats.ranked import RANKED

RANKS = (Response("good", 1), Response("bad", 2))
SCORES = (Response("good", None, 4.5), Response("bad", None, -1.0))
BY_RANK = [{"text": "good", "rank": 1}, {"text": "bad", "rank": 2}]


@pytest.mark.parametrize(
    ("row", "responses"),
    [
        ({"prompt": "Hi", "answers": BY_RANK}, RANKS),
        ({"question": "Hi", "responses": BY_RANK}, RANKS),
        ({"instruction": "Hi", "input": "", "completions": BY_RANK}, RANKS),
        ({"conversations": [{"from": "human", "value": "Hi"}], "responses": BY_RANK}, RANKS),
        ({"messages": [{"role": "user", "content": "Hi"}], "answers": BY_RANK}, RANKS),
        ({"prompt": "\n\nHuman: Hi\n\nAssistant:", "answers": BY_RANK}, RANKS),
        ({"prompt": "Hi", "answers": ["good", "bad"], "ranks": [1, 2]}, RANKS),
        ({"prompt": "Hi", "answers": ["good", "bad"], "ranks": [0, 1]}, RANKS),
        ({"prompt": "Hi", "answers": ["good", "bad"], "ranks": [1.0, 2.0]}, RANKS),
        ({"prompt": "Hi", "answers": ["good", "bad"], "scores": [4.5, -1]}, SCORES),
        ({"prompt": "Hi", "answers": ["good", "bad"], "ratings": [4.5, -1]}, SCORES),
        ({"prompt": "Hi", "answers": '["good", "bad"]', "scores": "[4.5, -1]"}, SCORES),
        ({"prompt": "Hi", "answers": json.dumps(BY_RANK)}, RANKS),
        (
            {
                "prompt": "Hi",
                "completions": [
                    {"response": "good", "overall_score": 4.5},
                    {"response": "bad", "overall_score": -1},
                ],
            },
            SCORES,
        ),
        (
            {
                "prompt": "Hi",
                "answers": [
                    {"role": "assistant", "content": "good", "rank": None, "rating": 4.5},
                    {"role": "assistant", "content": "bad", "rank": None, "rating": -1},
                ],
            },
            SCORES,
        ),
    ],
)
def test_every_way_to_write_a_ranked_list(
    row: dict[str, Any], responses: tuple[Response, ...]
) -> None:
    assert recognise(row) is RANKED
    parts = RANKED.parse(row)
    assert parts.messages == (Message("user", "Hi"),)
    assert parts.responses == responses
    assert row == {}


@pytest.mark.parametrize("column", ["answers", "responses", "completions"])
@pytest.mark.parametrize("name", ["content", "text", "answer", "response", "completion", "output"])
def test_every_name_of_an_answers_text(column: str, name: str) -> None:
    row = {"prompt": "Hi", column: [{name: "good", "rank": 1}, {name: "bad", "rank": 2}]}
    assert recognise(row) is RANKED
    assert RANKED.parse(row).responses == RANKS


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([2, 1, 3], [2, 1, 3]),  # in the order of the data, not of their ranks
        ([2, 0, 1], [3, 1, 2]),  # counted from 0
        ([1, 1, 2], [1, 1, 2]),  # ties stay ties
        ([0, 0, 1], [1, 1, 2]),
        ([7, 3, 9], [7, 3, 9]),  # only their order counts
    ],
)
def test_ranks_keep_order_ties_and_gaps(given: list[int], expected: list[int]) -> None:
    row = {"prompt": "Hi", "answers": ["a", "b", "c"], "ranks": given}
    responses = RANKED.parse(row).responses
    assert [response.content for response in responses] == ["a", "b", "c"]
    assert [response.rank for response in responses] == expected


def test_equal_scores_stay_equal_and_ranks_may_stand_beside_them() -> None:
    answers = [{"text": "a", "score": 2}, {"text": "b", "score": 2}, {"text": "c"}]
    row = {"prompt": "Hi", "answers": answers, "ranks": [1, 1, 2]}
    assert RANKED.parse(row).responses == (
        Response("a", 1, 2.0),
        Response("b", 1, 2.0),
        Response("c", 2, None),
    )


def test_what_an_answer_says_besides_is_kept_in_a_list_as_long() -> None:
    answers = [
        {"text": "a", "rank": 1, "model": "one", "note": None},
        {"text": "b", "rank": 2, "role": "assistant"},
        {"text": "c", "rank": 3, "role": "bot"},
    ]
    row = {"prompt": "Hi", "answers": answers, "language": "en"}
    assert len(RANKED.parse(row).responses) == 3
    assert row == {"language": "en", "answers": [{"model": "one"}, {}, {"role": "bot"}]}


def test_system_tools_and_history() -> None:
    row = {
        "instruction": "c",
        "history": [["a", "b"]],
        "system": "s",
        "functions": [{"name": "now"}],
        "answers": BY_RANK,
    }
    parts = RANKED.parse(row)
    assert [message.content for message in parts.messages] == ["s", "a", "b", "c"]
    assert parts.tools == ({"type": "function", "function": {"name": "now"}},)
    assert row == {}


def test_bare_texts_are_the_best_first_where_the_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "Hi", "answers": ["good", "bad", "worse"]}))
    [record] = read_records(Source(str(path), "ranked"))
    assert record.responses == (*RANKS, Response("worse", 3))
    with pytest.raises(RecordError, match=r"'answers' holds answers to compare, .* format: ranked"):
        list(read_records(path))


@pytest.mark.parametrize(
    ("row", "known"),
    [
        # A test question with several right answers.
        (
            {"question": "Who?", "answer": "Li Bai", "answers": ["Li Bai", "李白"]},
            "question_answer",
        ),
        (
            {"question": "Who?", "answer": "a", "answers": [{"text": "a", "answer_start": 3}]},
            "question_answer",
        ),
        ({"prompt": "Who?", "completion": "a", "answers": {"text": ["a"]}}, "prompt_completion"),
        # Ranks that are not there say nothing.
        (
            {"question": "Who?", "answer": "a", "answers": [{"text": "a", "rank": None}]},
            "question_answer",
        ),
        # One score for the whole row, or no list of answers.
        (
            {"question": "Who?", "answer": "a", "answers": ["a", "b"], "scores": 3},
            "question_answer",
        ),
        ({"instruction": "Who?", "output": "a", "ranks": [1, 2]}, "alpaca"),
        ({"instruction": "Who?", "output": "a", "answers": [], "ranks": [1, 2]}, "alpaca"),
        ({"instruction": "Who?", "output": "a", "answers": "[not JSON", "ranks": [1]}, "alpaca"),
        # Danlu's own responses, and a pair that also keeps what it was made of.
        (
            {"messages": [{"role": "user", "content": "Hi"}], "responses": [{"rank": 1}]},
            "danlu",
        ),
        (
            {
                "prompt": "Hi",
                "chosen": "a",
                "rejected": "b",
                "answers": ["a", "b"],
                "ranks": [1, 2],
            },
            "preference",
        ),
    ],
)
def test_what_is_no_ranked_list(row: dict[str, Any], known: str) -> None:
    assert not RANKED.recognise(row)
    assert recognise(row).name == known


def test_a_rank_on_any_answer_makes_it_a_ranked_list() -> None:
    """Were it a plain answer, the worse ones would be forgotten in silence."""
    answers = [{"text": "a", "rank": None}, {"text": "b", "rank": 1}]
    row = {"prompt": "Hi", "completion": "b", "answers": answers}
    assert recognise(row) is RANKED
    with pytest.raises(RecordError, match="answer 1 has no rank and others have"):
        RANKED.parse(row)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (
            {},
            "there is no list of answers; the row has columns 'prompt'. Say where it is with "
            "columns: {answers: ...}.",
        ),
        (
            {"answers": ["a"]},
            "'answers' holds 1 answers; to compare needs at least 2. Pass such rows over with "
            "data.on_bad_record: skip.",
        ),
        (
            {"answers": None},
            "'answers' holds 0 answers; to compare needs at least 2. Pass such rows over with "
            "data.on_bad_record: skip.",
        ),
        ({"answers": {"a": 1}}, "'answers' is an object; it must be a list."),
        ({"answers": ["a", 3]}, "answer 2 is a number; it must be text or an object."),
        (
            {"answers": [{"rank": 1}, {"text": "b", "rank": 2}]},
            "answer 1 has no text; it must be under one of content, text, answer, response, "
            "completion, output.",
        ),
        (
            {"answers": [{"text": 3, "rank": 1}, {"text": "b", "rank": 2}]},
            "answer 1 has no text; it must be under one of content, text, answer, response, "
            "completion, output.",
        ),
        (
            {"answers": ["a", "b", "c"], "ranks": [1, 2]},
            "'ranks' has 2 entries for 3 answers.",
        ),
        (
            {"answers": BY_RANK, "ranks": [1, 2]},
            "the answers have a rank each, and there is 'ranks'; leave one.",
        ),
        (
            {"answers": ["a", "b"], "ranks": [1, None]},
            "answer 2 has no rank and others have; rank all or none.",
        ),
        (
            {"answers": ["a", "b"], "ranks": [None, None]},
            "the ranks and scores of 'answers' are all null. Pass such rows over with "
            "data.on_bad_record: skip.",
        ),
        (
            {"answers": ["a", "b"], "ranks": [1, 1.5]},
            "the rank of answer 2 is 1.5; it must be 1, 2, 3 ...",
        ),
        (
            {"answers": ["a", "b"], "ranks": [-1, 1]},
            "the rank of answer 1 is -1; it must be 1, 2, 3 ...",
        ),
        (
            {"answers": ["a", "b"], "ranks": [True, 2]},
            "the rank of answer 1 is True; it must be 1, 2, 3 ...",
        ),
        (
            {"answers": ["a", "b"], "ranks": ["1", "2"]},
            "the rank of answer 1 is '1'; it must be 1, 2, 3 ...",
        ),
        (
            {"answers": ["a", "b"], "scores": [1, "high"]},
            "the score of answer 2 is 'high'; it must be a number.",
        ),
    ],
)
def test_broken_lists(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        RANKED.parse({"prompt": "Hi", **columns})
    assert str(caught.value) == reason


def test_no_conversation_before_the_answers() -> None:
    with pytest.raises(RecordError) as caught:
        RANKED.parse({"essay": "x", "answers": BY_RANK})
    assert str(caught.value) == (
        "there is no conversation before 'answers'; the row has columns 'essay'. Say where it is "
        "with columns: {prompt: ...}."
    )
