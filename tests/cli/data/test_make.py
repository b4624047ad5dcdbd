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
    if "Do these two tasks" in text:
        return Does("No")
    if "in this form:\n\nUser:" in text:
        talk = "User: {}\nAssistant: Li\nEvidence: Li built the tower.\n"
        return Does(talk.format("Who built the tower?") + talk.format("And nobody else?"))
    if "Into which steps" in text:
        return Does("Step 1: Name the builder.\nStep 2: Name the year.")
    if "in other words" in text:
        return Does("By whom was this tower erected?")
    if "texts mean the same?" in text:
        return Does("Yes")
    if "Which answer is best?" in text:
        return Does("2")
    if text.endswith("It fell.") and "words" in text:
        return Does("The tower of Li fell.")
    if text.startswith("Text:") and "Summary:" not in text:
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
        told(server, "doc2conv", "doc.txt", "-n", "talks")
        told(server, "summarise", "doc.txt", "--length", "3", "--tolerance", "1", "-n", "short")
        told(server, "decompose", "q.jsonl", "-n", "steps")
        told(server, "similarity-pairs", "q.jsonl", "--hard", "0", "--easy", "0", "-n", "pairs")
    expected = {"tasks": 2, "harder": 1, "limited": 1, "asked": 1, "talks": 1, "short": 1}
    expected |= {"steps": 2, "pairs": 1}
    assert {name: Store().find(name).manifest.fates()["made"] for name in expected} == expected
    assert (tmp_path / "r.jsonl").read_text() == ""


def test_another_model_judges_at_its_own_endpoint_with_its_own_key(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-first")
    monkeypatch.setenv("JUDGE_API_KEY", "key-of-the-judge")

    def varied(body, time_):
        return Does(f"answer {body['seed']}")

    words = ("answer", "q.jsonl", "-n", "judged", "--samples", "2", "--judge", "wise")
    with serving(varied) as server, serving(script) as court:
        _, err = told(server, *words, "--judge-url", court.url)
        assert "spent: 60 tokens" in err  # two answers and two votes
        assert {body["model"] for body in court.bodies} == {"wise"}
        assert {body["model"] for body in server.bodies} == {"strong"}
        for asked, key in ((server, "first"), (court, "judge")):
            assert {h["Authorization"] for h in asked.headers} == {f"Bearer key-of-the-{key}"}
        operation = Store().find("judged").manifest.operation
        assert operation.settings["judge"]["model"] == "wise"
        # Without an endpoint of its own, the judge is at the same.
        told(server, *words, "--seed", "7")
        assert {body["model"] for body in server.bodies} == {"strong", "wise"}
        for given, error in (
            (("--judge", "wise"), "--samples 2 or more"),
            (("--judge-url", court.url), "name the model too"),
            (("--choose", "judge"), "--samples 2 or more"),
            (("--judge", "w", "--samples", "2", "--choose", "majority"), "asks no judge"),
        ):
            assert error in told(server, "answer", "q.jsonl", *given, code=2)[1]


def test_checks_of_ones_own(told: Told, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        """
def short(record):
    assert record.messages[0].role == "user"
    words = record.messages[-1].content.split()
    return f"Use one word, not {len(words)}." if len(words) > 1 else None

def check_name(record):
    return None if "Li" in record.messages[-1].content else "Name the builder."

def wrong(record):
    return 1
""",
        "utf-8",
    )

    def answers(body, time_):
        text = said(body)
        if "Name the builder." in text:
            return Does("Li did.")
        return Does("Li" if "one word" in text else "Nobody knows that")

    with serving(answers) as server:
        told(server, "answer", "q.jsonl", "-n", "a", "--check", "mine.py:short")
        _, err = told(
            server, "answer", "q.jsonl", "-n", "b", "--check", "mine.py", "--rejects", "r"
        )
        assert "was there" not in err
        _, err = told(server, "answer", "q.jsonl", "--check", "mine.py:shrt", code=2)
        assert "mine.py: it has no function shrt. Did you mean 'short'?" in err
        _, err = told(server, "answer", "q.jsonl", "--check", "mine.py:wrong", code=2)
        assert "wrong returned 1; it must be text" in err
        _, err = told(server, "answer", "q.jsonl", "--check", "none.py", code=2)
        assert "none.py: there is no such Python file" in err
    contents = [next(iter(Store().find(name).records())).messages[-1].content for name in "ab"]
    assert contents == ["Li", "Li did."]
    [own] = Store().find("a").manifest.operation.settings["own"]
    assert own["name"] == "short"


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
