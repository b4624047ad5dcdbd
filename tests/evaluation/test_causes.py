"""The four usual causes: each planted, each ranked first."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.causes import TypeChange, TypeData, explain, from_diff, summary
from danlu.evaluation.compare import compare
from danlu.evaluation.comparison import CompareSettings, Comparison
from danlu.evaluation.rows import ScoredRow
from danlu.records import Message, Record
from danlu.workshop.operations.diff import diff

NAMES = [f"area/skill{k}" for k in range(8)]


def comparison(worse: dict[str, int]) -> Comparison:
    """Eight task types of 200 prompts, all right in A; B loses some."""

    def rows(lost: dict[str, int]) -> list[ScoredRow]:
        return [
            ScoredRow(f"{name} {k}", name, float(k >= lost.get(name, 0)))
            for name in NAMES
            for k in range(200)
        ]

    return compare(rows({}), rows(worse), settings=CompareSettings(resamples=500))


def unchanged() -> dict[str, TypeChange]:
    data = TypeData(100, 5000.0, 0.125, 40.0, 0)
    return {name: TypeChange(data, data) for name in NAMES}


DROP = {NAMES[3]: 60}


def test_damaged_records_come_first() -> None:
    data = unchanged()
    data[NAMES[3]] = TypeChange(
        TypeData(100, 5000.0, 0.125, 40.0, 0), TypeData(100, 4200.0, 0.11, 31.0, 0), changed=90
    )
    settings = {"training.epochs": 2}, {"training.epochs": 3}
    (found,) = explain(comparison(DROP), data, settings)
    assert found.task_type == NAMES[3]
    assert found.causes[0].kind == "own data"
    assert found.causes[0].strength == 0.9
    assert found.causes[0].evidence == "records: 90 edited, of 100, answers 0.78 times as long"
    assert len(found.causes) == 4
    assert summary([found])[0].startswith("area/skill3: own data (records: 90 edited")
    json.dumps(found.as_dict())


def test_a_fallen_share_comes_first() -> None:
    data = unchanged()
    data[NAMES[3]] = TypeChange(TypeData(100, 5000.0, 0.125), TypeData(100, 5000.0, 0.03))
    (found,) = explain(comparison(DROP), data)
    assert found.causes[0].kind == "share"
    assert found.causes[0].evidence == "12.5% of the loss, then 3.0%"


def test_the_share_of_tokens_serves_where_that_of_the_loss_is_unknown() -> None:
    data = {name: TypeChange(TypeData(10, 100.0), TypeData(10, 300.0)) for name in NAMES}
    data[NAMES[3]] = TypeChange(TypeData(10, 100.0), TypeData(10, 100.0))
    (found,) = explain(comparison(DROP), data)
    assert found.causes[0].kind == "share"
    assert found.causes[0].evidence == "12.5% of the tokens, then 4.5%"


def test_a_setting_comes_first_where_all_moved() -> None:
    found = explain(comparison(dict.fromkeys(NAMES, 60)), unchanged(), ({"lr": 1e-4}, {"lr": 1e-3}))
    assert len(found) == 8
    assert {one.causes[0].kind for one in found} == {"setting"}
    assert found[0].causes[0].evidence == "lr 0.0001 to 0.001; 100% of the task types moved"


def test_noise_comes_first_where_nothing_changed() -> None:
    (found,) = explain(comparison({NAMES[3]: 11}), unchanged())
    assert found.causes[0].kind == "noise"
    # 8 task types, p = 2**-10 and times 8: 1 / (1 - 1 / (e p ln p)).
    assert found.causes[0].strength == pytest.approx(0.0934, abs=0.001)


def test_what_did_not_move_is_not_explained() -> None:
    data = unchanged()
    data[NAMES[0]] = TypeChange(TypeData(100, 1.0), TypeData(100, 1.0), changed=100)
    assert explain(comparison({}), data) == ()


def test_a_task_type_that_left_the_data() -> None:
    data = unchanged()
    data[NAMES[3]] = TypeChange(TypeData(100, 5000.0, 0.125), None, removed=100)
    (found,) = explain(comparison(DROP), data)
    assert [(cause.kind, cause.strength) for cause in found.causes[:2]] == [
        ("own data", 1.0),
        ("share", 1.0),
    ]
    del data[NAMES[3]]
    (found,) = explain(comparison(DROP), data)
    assert found.causes[0].kind == "noise"


def test_the_workshops_difference_is_read() -> None:
    def records(answer: str) -> list[Record]:
        return [
            Record(f"{name} {k}", name, (Message("user", "?"), Message("assistant", text)))
            for name in NAMES
            for k in range(5)
            for text in [answer if name == NAMES[3] else "yes indeed"]
        ]

    data = from_diff(diff(records("yes indeed"), records("no")).as_dict())
    assert asdict(data[NAMES[3]])["changed"] == 5
    (found,) = explain(comparison(DROP), data)
    assert found.causes[0].kind == "own data"
    assert found.causes[0].strength == 1.0


def test_impossible_counts_are_refused() -> None:
    data = {NAMES[3]: TypeChange(TypeData(3, 1.0), TypeData(3, 1.0), changed=4)}
    with pytest.raises(EvaluationError, match="more than the 3 records"):
        explain(comparison(DROP), data)
