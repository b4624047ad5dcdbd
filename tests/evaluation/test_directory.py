"""The folder of an evaluation: what is written is read, what is torn or absent is said."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.directory import EvalDirectory, find_evaluations
from danlu.evaluation.rows import ScoredRow, Stakes
from danlu.evaluation.schema import (
    AnswerRow,
    EvalSummary,
    Evaluation,
    Failure,
    Item,
    ModelAsked,
    ScoredAnswer,
    TypeStakes,
)

ITEMS = [
    Item(id=f"q{k}", task_type="math/sums", messages=({"role": "user", "content": f"{k}？"},))
    for k in range(3)
]
EVALUATION = Evaluation(
    suite="small",
    suite_fingerprint="f",
    model=ModelAsked(name="m", fingerprint="w"),
    sampling={"greedy": False},
    samples=2,
    seeds=(0, 1),
    task_types={"math/sums": TypeStakes(scorer="exact", critical=True, margin=0.02)},
    versions={},
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def scored(item: str, sample: int, value: float | None, scorer: str = "exact") -> ScoredAnswer:
    return ScoredAnswer(
        item=item,
        task_type="math/sums",
        sample=sample,
        scorer=scorer,
        value=value,
        failure=None if value is not None else Failure(kind="not_read", message="?"),
    )


def test_an_items_row_is_the_mean_of_its_samples_and_missing_if_one_is(tmp_path: Path) -> None:
    with EvalDirectory.create(tmp_path / "e", EVALUATION, ITEMS) as directory:
        values = [("q0", 1.0, 0.0), ("q1", 1.0, None), ("q2", 1.0, 1.0)]
        rows = [scored(q, k, v) for q, *both in values for k, v in enumerate(both)]
        directory.write_scores([*rows, scored("q0", 0, 12.0, "length")])
    found = EvalDirectory.open(tmp_path / "e")
    assert found.scored_rows() == [
        ScoredRow("q0", "math/sums", 0.5),
        ScoredRow("q1", "math/sums", None),
        ScoredRow("q2", "math/sums", 1.0),
    ]
    assert found.scored_rows("length") == [ScoredRow("q0", "math/sums", 12.0)]
    assert found.stakes() == {"math/sums": Stakes(critical=True, margin=0.02)}


def test_a_torn_answer_is_passed_over_and_written_again(tmp_path: Path) -> None:
    first, second = AnswerRow(item="q0", text="零"), AnswerRow(item="q1", text="一")
    with EvalDirectory.create(tmp_path / "e", EVALUATION, ITEMS) as directory:
        directory.append_answers([first])
    with (tmp_path / "e" / "answers.jsonl").open("a") as file:
        file.write('{"item": "q1", "te')
    with EvalDirectory.resume(tmp_path / "e") as directory:
        assert list(directory.answers()) == [first]
        directory.append_answers([second])
        assert list(directory.answers()) == [first, second]


def test_who_writes_it_and_how_far_it_is(tmp_path: Path) -> None:
    with EvalDirectory.create(tmp_path / "e", EVALUATION, ITEMS) as directory:
        assert EvalDirectory.open(tmp_path / "e").state() == "running"
        with pytest.raises(EvaluationError, match="another process writes"):
            EvalDirectory.resume(tmp_path / "e")
    assert EvalDirectory.open(tmp_path / "e").state() == "interrupted"
    with EvalDirectory.resume(tmp_path / "e") as directory:
        directory.finish(EvalSummary(suite="small", model="m", score=1, task_types={}, seconds=2))
    assert [one.state() for one in find_evaluations(tmp_path)] == ["finished"]


def test_what_is_there_is_not_overwritten_and_what_is_not_is_named(tmp_path: Path) -> None:
    EvalDirectory.create(tmp_path / "first", EVALUATION, ITEMS).close()
    with pytest.raises(EvaluationError, match="something is there already"):
        EvalDirectory.create(tmp_path / "first", EVALUATION, ITEMS)
    with pytest.raises(EvaluationError, match=r"Did you mean .*first"):
        EvalDirectory.open(tmp_path / "frist")
    with pytest.raises(EvaluationError, match="no scores yet"):
        EvalDirectory.open(tmp_path / "first").scored_rows()
