"""The addresses of runs: what they answer, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from danlu.runs import RunDirectory
from danlu.runs.notes import read_notes
from tests.runs.synthetic_run import make_run, row
from tests.studio.running import Running, running


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    make_run(folder / "runs" / "done", steps=30)
    make_run(folder / "runs" / "half", state="interrupted", steps=30)
    return folder


@pytest.fixture(scope="module")
def studio(root: Path) -> Iterator[Running]:
    with running(root) as one:
        yield one


def test_curves_are_given_for_a_range(studio: Running) -> None:
    with studio.entered() as client:
        query = {"run": ["runs/done", "runs/half"], "first": "5", "last": "9", "points": "50"}
        found = client.get("/runs/curves", params=query).json()
    assert found["x"] == [5, 6, 7, 8, 9]
    losses = [one for one in found["series"] if one["number"] == "loss" and not one["task_type"]]
    assert {one["run"] for one in losses} == {0, 1}
    assert found["end"] == 30


@pytest.mark.parametrize("path", ["show", "status"])
def test_an_unknown_run_is_not_there(studio: Running, path: str) -> None:
    with studio.entered() as client:
        answer = client.get(f"/runs/{path}/runs/none")
    assert answer.status_code == 404
    assert "no such run" in answer.text


def test_a_change_is_told_as_it_happens(studio: Running, root: Path) -> None:
    metrics = root / "runs" / "half" / "metrics.jsonl"
    with studio.entered() as client, client.stream("GET", "/runs/live?run=runs/half") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        lines = events.iter_lines()
        assert next(lines) == "retry: 2000"
        with metrics.open("a", encoding="utf-8") as file:
            file.write(row(30).to_json() + "\n")
        told = next(line for line in lines if line.startswith("data: "))
    assert json.loads(told.removeprefix("data: ")) == ["half"]


def test_notes_are_kept_beside_the_run_or_refused(studio: Running, root: Path) -> None:
    with studio.entered() as client:
        good = {"run": "runs/done", "tags": "a, b  a", "note": "注"}
        assert client.post("/runs/notes", data=good).status_code == 200
        bad = client.post("/runs/notes", data={**good, "tags": "x" * 61})
    assert bad.status_code == 400
    notes = read_notes(root / "runs" / "done")
    assert (notes.tags, notes.note) == (("a", "b"), "注")


def test_only_what_can_be_stopped_or_resumed_is(studio: Running, root: Path) -> None:
    with studio.entered() as client:
        stop = client.post("/runs/stop", data={"run": "runs/half"})
        resume = client.post("/runs/resume", data={"run": "runs/done"})
        unknown = client.post("/runs/resume", data={"run": "../elsewhere"})
        missing = client.post("/runs/resume", data={})
    assert "is not trained by this studio" in stop.text
    assert "nothing to go on with" in resume.text
    assert (unknown.status_code, missing.status_code) == (404, 400)
    assert RunDirectory(root / "runs" / "half").state() == "interrupted"


def test_a_recipe_that_is_wrong_is_not_started(studio: Running, root: Path) -> None:
    with studio.entered() as client:
        answer = client.post("/runs/new/start", data={"s.name": "x", "s.training.epochs": "-1"})
        assert client.post("/runs/new/yaml", data={"yaml": "name: [x"}).status_code == 400
        assert "runs_dir" in client.post("/runs/new/check", data={"s.runs_dir": "/tmp"}).text
    assert answer.status_code == 400
    assert "training.epochs" in answer.text
    assert not (root / ".danlu" / "studio" / "jobs").exists()


def test_the_pages_hold_up_without_a_run(tmp_path: Path) -> None:
    with running(tmp_path) as studio, studio.entered() as client:
        for path in ("/runs", "/jobs", "/runs/new", "/runs/names?q=x", "/runs/compare"):
            assert client.get(path).status_code == 200, path
