"""shp: two comments and how many readers liked each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RecordError
from danlu.records import Message, Response, Source, read_records
from danlu.records.formats import recognise
from danlu.records.formats.shp import SHP


def row(**changes: Any) -> dict[str, Any]:
    """A row as Stanford publishes it, without most of its counts."""
    columns = {
        "post_id": "x1",
        "domain": "askculinary_train",
        "history": "Why is my bread flat?",
        "human_ref_A": "Old yeast.",
        "human_ref_B": "Buy bread.",
        "labels": 1,
        "score_A": 30,
        "score_B": 10,
        "score_ratio": 3.0,
    }
    return {name: value for name, value in {**columns, **changes}.items() if value != "absent"}


KEPT = {"post_id": "x1", "domain": "askculinary_train", "score_ratio": 3.0}


def test_the_better_comment_comes_first() -> None:
    for label, scores, texts in (
        (1, (30, 10), ("Old yeast.", "Buy bread.")),
        (0, (10, 30), ("Buy bread.", "Old yeast.")),
    ):
        given = row(labels=label, score_A=scores[0], score_B=scores[1])
        assert recognise(given) is SHP
        parts = SHP.parse(given)
        assert parts.messages == (Message("user", "Why is my bread flat?"),)
        assert parts.responses == (Response(texts[0], 1, 30.0), Response(texts[1], 2, 10.0))
        assert given == KEPT


def test_a_table_writes_numbers_as_text_and_leaves_cells_empty(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(
        "history,human_ref_A,human_ref_B,labels,score_A,score_B,score_ratio\n"
        "p,a,b,0,2,31,15.5\n"
        "q,a,b,1,,,\n"
    )
    first, second = read_records(path)
    assert first.responses == (Response("b", 1, 31.0), Response("a", 2, 2.0))
    assert second.responses == (Response("a", 1), Response("b", 2))
    assert (first.meta, second.meta) == ({"score_ratio": "15.5"}, {"score_ratio": ""})
    assert first.task_type == "unlabelled/train"


def test_equal_scores_follow_the_label() -> None:
    for label, best in ((1, "Old yeast."), (0, "Buy bread.")):
        parts = SHP.parse(row(labels=label, score_A=5, score_B=5))
        assert [(r.rank, r.score) for r in parts.responses] == [(1, 5.0), (2, 5.0)]
        assert parts.responses[0].content == best


@pytest.mark.parametrize("label", [True, 1.0, "1", "true"])
def test_ways_to_write_the_label(label: Any) -> None:
    assert SHP.parse(row(labels=label)).responses[0].content == "Old yeast."


def test_one_score_or_none_is_no_contradiction() -> None:
    for scores in ({"score_A": None}, {"score_B": "absent"}, {"score_A": None, "score_B": None}):
        parts = SHP.parse(row(**scores))
        assert [response.rank for response in parts.responses] == [1, 2]
    assert SHP.parse(row(score_B=None)).responses == (
        Response("Old yeast.", 1, 30.0),
        Response("Buy bread.", 2),
    )


def test_scores_and_their_ratio_reach_the_record(tmp_path: Path) -> None:
    """A minimum ratio needs no more than the record: both scores are there, and the column."""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row(history=name)) + "\n" for name in "pq"))
    records = list(read_records(Source(str(path), task_type="cooking/advice")))
    assert len({record.id for record in records}) == 2
    for record in records:
        better, worse = record.responses
        assert better.score is not None
        assert worse.score is not None
        assert better.score / worse.score == record.meta["score_ratio"] == 3.0


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b", "score_A": 1}, "preference"),
        ({"instruction": "p", "output": "a", "human_ref_A": "a", "history": []}, "alpaca"),
    ],
)
def test_what_is_no_shp(given: dict[str, Any], known: str) -> None:
    assert not SHP.recognise(given)
    assert recognise(given).name == known


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"history": "absent", "post_id": "absent", "domain": "absent", "score_ratio": "absent"},
            "the column 'history' is missing; the row has columns 'human_ref_A', 'human_ref_B', "
            "'labels', 'score_A', 'score_B'.",
        ),
        ({"history": ["a"]}, "'history' is a list; it must be text."),
        ({"human_ref_B": None}, "'human_ref_B' is null; it must be text."),
        ({"labels": "absent"}, "'labels' is None; it must be 1 (A is better) or 0 (B is)."),
        ({"labels": 2}, "'labels' is 2; it must be 1 (A is better) or 0 (B is)."),
        ({"score_A": "many"}, "the score of A is 'many'; it must be a number."),
        ({"score_B": "nan"}, "the score of B is nan; it must be a number."),
        ({"score_B": True}, "the score of B is True; it must be a number."),
        (
            {"labels": 0},
            "'labels' prefers B, whose score is lower (10 against 30). Correct one of them, or "
            "take the scores out.",
        ),
        (
            {"score_A": 2.5},
            "'labels' prefers A, whose score is lower (2.5 against 10). Correct one of them, or "
            "take the scores out.",
        ),
    ],
)
def test_broken_rows(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        SHP.parse(row(**changes))
    assert str(caught.value) == reason
