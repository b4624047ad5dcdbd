"""``danlu data make``: from the command line to a version, over a real endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from danlu.cli.main import run
from danlu.workshop.store.store import Store
from tests.workshop.produce.endpoint_server import Does, Server, said, serving

Told = Callable[..., tuple[str, str]]


def script(body, time_):
    text = said(body)
    if "Continue the list" in text:
        kinds = ("rivers of Spain", "kings and their horses", "a soup without salt")
        return Does("\n".join(f"Task {n + 9}: Tell of {kind}" for n, kind in enumerate(kinds)))
    if "needs more thought" in text:
        return Does("Tell me who built the tower, and why nobody could finish it in time")
    if "Do these two" in text:
        return Does("No")
    if text.startswith("Text:"):
        return Does("Question: Who built the tower?\nAnswer: Li\nEvidence: Li built the tower.")
    return Does("Yes, Li did.")


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Told:
    """Run a command that must succeed (or fail with a code), and return what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    questions = [{"messages": [{"role": "user", "content": "Who built the tower?"}]}]
    (tmp_path / "q.jsonl").write_text(json.dumps(questions[0]) + "\n", "utf-8")
    (tmp_path / "doc.txt").write_text("Li built the tower. It fell.", "utf-8")

    def run_it(server: Server, *words: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert run(["data", "make", *words, "--url", server.url, "-m", "strong"]) == code
        return capsys.readouterr()

    return run_it


def test_answers_become_a_version(told: Told) -> None:
    with serving(script) as server:
        words = ("answer", "q.jsonl", "-n", "answered", "--price-completion", "2000")
        _, err = told(server, *words)
        assert "spent: 15 tokens, 0.0100 in money" in err
        assert "1 edited: answer" in err
        assert "answered = v" in err
        _, err = told(server, *words, "--rejects", "r.jsonl")
        assert "which was there already" in err
        assert "r.jsonl is not written" in err
        assert len(server.bodies) == 1
    [record] = Store().find("answered").records()
    assert record.messages[-1].content == "Yes, Li did."
    assert Store().find("answered").manifest.operation.settings["asking"]["model"] == "strong"


def test_every_maker(told: Told, tmp_path: Path) -> None:
    with serving(script) as server:
        told(server, "self-instruct", "--count", "2", "--language", "en", "-n", "tasks")
        told(server, "evolve", "q.jsonl", "--way", "deepen", "-n", "harder")
        told(server, "constraints", "q.jsonl", "--kind", "sentences", "-n", "limited")
        _, err = told(server, "doc2qa", "doc.txt", "-n", "asked", "--rejects", "r.jsonl")
    assert "1 dropped: document used" in err
    made = {
        name: Store().find(name).manifest.fates()["made"]
        for name in ("tasks", "harder", "limited", "asked")
    }
    assert made == {"tasks": 2, "harder": 1, "limited": 1, "asked": 1}
    assert (tmp_path / "r.jsonl").read_text() == ""


def test_a_budget_stops_and_the_same_command_goes_on(told: Told, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"Question {n}?"}]} for n in range(9)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "many.jsonl").write_text(text, "utf-8")
    words = ("answer", "many.jsonl", "-n", "done", "--max-new-tokens", "20", "--concurrency", "1")
    with serving(script) as server:
        _, err = told(server, *words, "--budget-tokens", "200", code=2)
        assert "Error: the budget is spent" in err
        assert "Run the same command again with a new budget" in err
        before = len(server.bodies)
        assert 0 < before < 9
        assert not Store().has("done")
        told(server, *words)
        assert len(server.bodies) == 9
    assert len(Store().find("done")) == 9


def test_mistakes_are_told(told: Told) -> None:
    with serving(script) as server:
        _, err = told(server, "answer", "q.jsonl", "--extra", "[1]", code=2)
        assert "a JSON object is wanted" in err
        _, err = told(server, "answer", "q.jsonl", "--budget-money", "1", code=2)
        assert "needs the prices" in err
        _, err = told(server, "evolve", "q.jsonl", "--way", "deepn", code=2)
        assert "deepn" in err
        assert server.bodies == []
