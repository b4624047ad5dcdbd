"""The tutorial, made small: a planted fault is found, and its cause is named."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from danlu.evaluation.compared import compare_evaluations
from danlu.evaluation.comparison import CompareSettings
from danlu.evaluation.finding import find_pair
from tools.compare_tutorial import BASE, SETTINGS, damaged, stand_in, tutorial

BRIEF = (
    *SETTINGS,
    "training.batch_records=4",
    "training.learning_rate=3e-3",
    "tuning.layers=[-10,-9,-8,-7,-6,-5,-4,-3,-2,-1]",
)
"""Nine steps, of a third of the model's layers: enough for tasks as easy as these."""


def test_damage_gives_each_record_the_next_label_of_its_task_type_alone() -> None:
    def record(task_type: str, label: str) -> dict[str, object]:
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": label}]
        return {"task_type": task_type, "messages": turns}

    rows = [record("a/b", "x"), record("a/b", "y"), record("c/d", "x")]
    found = damaged(rows, "a/b")
    assert found == [record("a/b", "y"), record("a/b", "x"), record("c/d", "x")]
    assert rows[0] == record("a/b", "x")
    assert damaged(rows, "a/b", "z") == [record("a/b", "z"), record("a/b", "z"), record("c/d", "x")]


def test_the_stand_in_is_balanced_and_short() -> None:
    rows = stand_in(40)
    assert rows == stand_in(40)
    counts = Counter(row["task_type"] for row in rows)
    assert counts == {"shop/price": 40, "shop/colour": 40, "shop/buyer": 40}
    assert len({row["completion"] for row in rows}) == 7
    assert len({row["prompt"] for row in rows}) == 120


@pytest.mark.slow
def test_the_damaged_task_is_found_and_its_data_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # and back, for the tutorial goes to its folder
    tutorial(
        stand_in(24), tmp_path / "work", settings=BRIEF, damage="shop/price", wrong="9",
        max_new_tokens=8,
    )  # fmt: skip
    quick = CompareSettings(resamples=1000)
    found = compare_evaluations(*find_pair("runs/v1", "runs/v2"), settings=quick)
    verdicts = {leaf.name: leaf.verdict for leaf in found.comparison.task_types}
    assert verdicts.pop("shop/price").value == "worse"
    assert not any(verdict.moved for verdict in verdicts.values())
    (why,) = found.explanations
    assert why.causes[0].kind == "own data"
    assert "edited" in why.causes[0].evidence
    helped = compare_evaluations(
        *find_pair(BASE, "runs/v1"), settings=CompareSettings(resamples=1000, incomplete="count")
    )
    assert helped.comparison.overall.difference > 0
    assert Path("compare.html").is_file()
    said = capsys.readouterr().out
    assert "B is worse in 1 of 3 task types: shop/price." in said
    assert json.loads(Path("evals/tasks-v2/summary.json").read_text("utf-8"))["model"] == "runs/v2"
