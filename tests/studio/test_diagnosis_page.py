"""The page of findings says what the files say, and no more."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from danlu.runs.findings import (
    Alert,
    Evidence,
    Finding,
    ProbeReport,
    Remedy,
    append_alert,
    write_probe,
)
from danlu.studio.found import FoundIndex
from danlu.studio.workspace import Workspace
from tests.runs.synthetic_run import make_run
from tests.studio.client import entered

MOMENT = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)
BAIT = "<script>alert('丹')</script>"
SAFE = "&lt;script&gt;alert(&#39;丹&#39;)&lt;/script&gt;"


def finding(name: str, severity: Any = "note", **more: Any) -> Finding:
    evidence = more.pop("evidence", (Evidence(says="seen"),))
    return Finding(
        name=name,
        says=f"{name} is so.",
        severity=severity,
        confidence="high",
        evidence=evidence,
        **more,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    for name in ("one", "two", "three"):
        make_run(folder / "runs" / name, steps=12)
    evidence = Evidence(
        says=f"Looked. {BAIT}",
        figures={"gap": 0.123456, "word": BAIT},
        steps=(4, 9),
        records=("r-17", BAIT),
        cases=({"prompt": "京?", "answer": BAIT, "wrong": True},),
        command="danlu probe fit runs/one",
    )
    remedy = Remedy(
        says="Train less.",
        settings={"training.epochs": 1.5, "model.path": BAIT},
        commands=("danlu data drop r-17",),
    )
    deep = finding(
        "overfitted", "serious", task_type="qa/资料", evidence=(evidence,), remedies=(remedy,)
    )
    reports = [
        ("one", ProbeReport(probe="fit", made_at=MOMENT, findings=(finding("calm"), deep))),
        ("one", ProbeReport(probe="forgetting", made_at=MOMENT, skipped=f"no base. {BAIT}")),
        (
            "two",
            ProbeReport(
                probe="curves",
                made_at=MOMENT,
                findings=(finding("loss-rises", "warning", task_type="qa/short"),),
            ),
        ),
    ]
    for run, report in reports:
        write_probe(folder / "runs" / run, report)
    append_alert(folder / "runs" / "one", Alert(step=7, finding=finding("spike", "warning")))
    return folder


def order(text: str, *words: str) -> list[str]:
    """Those of the words that a page has, in its order."""
    return sorted((word for word in words if word in text), key=text.index)


NAMES = (">overfitted<", ">loss-rises<", ">calm<")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, NAMES),
        ({"severity": "note"}, NAMES[2:]),
        ({"run": "TWO"}, NAMES[1:2]),
        ({"task_type": "qa"}, NAMES[:2]),
        ({"task_type": "qa/资料"}, NAMES[:1]),
        ({"task_type": "qa/资料", "run": "two"}, ()),
        ({"first": "1"}, NAMES[1:]),
    ],
)
def test_findings_come_worst_first_and_filters_are_in_the_address(
    root: Path, query: dict[str, str], expected: tuple[str, ...]
) -> None:
    client, _ = entered(root)
    text = client.get("/diagnosis", params=query).text
    assert order(text, *NAMES) == list(expected)
    assert ("No finding fits." in text) == (not expected)
    part = client.get("/diagnosis", params=query, headers={"hx-target": "found"}).text
    assert "<html" not in part
    assert order(part, *NAMES) == list(expected)


def test_a_run_shows_evidence_remedies_and_what_was_skipped(root: Path) -> None:
    client, _ = entered(root)
    text = client.get("/diagnosis/show/runs/one").text
    assert BAIT not in text
    assert text.count(SAFE) == 6  # sentence, figure, record, case, setting, reason
    for said in (
        "0.1235",
        'href="/runs/show/runs/one#step=4"',
        'href="/runs/show/runs/one#step=9"',
        "r-17",
        "京?",
        "danlu probe fit runs/one",
        "Train less.",
        "training.epochs",
        "danlu data drop r-17",
        "no base.",
        "#step=7",
    ):
        assert said in text, said
    assert order(text, 'id="fit-0"', 'id="fit-1"') == ['id="fit-0"', 'id="fit-1"']
    assert text.index("overfitted") < text.index("calm is so.")


def test_a_run_that_nobody_looked_at_says_what_to_type(root: Path) -> None:
    client, _ = entered(root)
    text = client.get("/diagnosis/show/runs/three").text
    assert "<code>danlu diagnose runs/three</code>" in text
    assert client.get("/diagnosis/show/runs/none").status_code == 404
    assert client.get("/diagnosis/show/../etc").status_code == 404


def test_an_empty_workspace_says_what_to_type_in_both_languages(tmp_path: Path) -> None:
    client, _ = entered(tmp_path)
    assert "<code>danlu diagnose RUN</code>" in client.get("/diagnosis").text
    client, _ = entered(tmp_path, **{"accept-language": "zh"})
    assert "还没有诊断过任何训练" in client.get("/diagnosis").text


def test_a_diagnosis_starts_as_a_job_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, shared = entered(root)
    asked: list[Any] = []

    class Started:
        state = "running"

        class job:  # noqa: N801
            id, kind, run = "j1", "diagnose", "runs/one"

    def start(*given: Any, **more: Any) -> Any:
        asked.append((given, more))
        return Started

    monkeypatch.setattr(shared.jobs, "start", start)
    monkeypatch.setattr(shared.jobs, "all", lambda count: [Started] if asked else [])
    for _ in range(2):
        answer = client.post("/diagnosis/start", data={"run": "runs/one"})
        assert answer.headers["hx-redirect"] == "/jobs/j1"
    assert asked == [(("diagnose", ["diagnose", "run", "runs/one"]), {"run": "runs/one"})]
    assert 'href="/jobs/j1"' in client.get("/diagnosis/show/runs/one").text
    assert client.post("/diagnosis/start", data={"run": "../x"}).status_code == 404
    assert client.post("/diagnosis/start", data={}).status_code == 400


def test_the_index_reads_again_what_changed_and_tells_what_is_broken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "a", steps=3).path
    index = FoundIndex(Workspace(tmp_path))
    assert index.all().runs == []
    for name in ("first", "second"):
        report = ProbeReport(probe="fit", made_at=MOMENT, findings=(finding(name),))
        write_probe(run, report)
        assert [row.name for row in index.all().rows] == [name]
    (run / "diagnosis" / "curves.json").write_text("{")
    found = index.all()
    assert found.rows == []
    assert [name for name, why in found.faults if "curves.json" in why] == ["runs/a"]
