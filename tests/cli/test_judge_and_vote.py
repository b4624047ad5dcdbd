"""``danlu judge`` and ``danlu vote`` from end to end, against a real server."""

import io
import json
import re
from pathlib import Path

import pytest

from danlu.cli.main import run
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.schema import EvalSummary, ScoredAnswer
from danlu.evaluation.store.database import EvalStore
from danlu.evaluation.store.index import indexed
from danlu.evaluation.store.judgements import judgements
from tests.evaluation.judging.judges import item, make
from tests.workshop.produce.endpoint_server import Does, serving

ITEMS = [item(f"q{k}", f"第 {k} 题：天为什么蓝？", "writing/why") for k in range(12)]
OLD = [f"因为光。{k}" for k in range(12)]
NEW = [OLD[0], *(f"因为空气把蓝光散射得更多。{k}" for k in range(1, 12))]


def scores_length(body, time_: int) -> Does:
    """Score by length, prefer the longer; the third answer of B cannot be judged."""
    text = str(body["messages"][1]["content"])
    found = dict(re.findall(r"<(\w+)-[0-9a-f]{12}>\n(.*?)\n</", text, re.DOTALL))
    if "first" in found:
        return Does(f"长的好。\n结论：{1 if len(found['first']) > len(found['second']) else 2}")
    if found["answer"].endswith("多。3"):
        return Does("说不清。")
    return Does(f"尚可。\n评分：{8 if len(found['answer']) > 10 else 3}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_STORE", raising=False)
    make(tmp_path / "evals", "old", ITEMS, OLD)
    made = make(tmp_path / "evals", "new", ITEMS, NEW)
    other = ScoredAnswer(item="q0", task_type="writing/why", scorer="length", value=5.0)
    with EvalDirectory.resume(made.path) as opened:
        opened.write_scores([other])
        opened.finish(EvalSummary(suite="small", model="m", score=None, task_types={}, seconds=1))
    return tmp_path


def asked(url: str, *more: str) -> list[str]:
    return ["-m", "strong", "--url", url, "--attempts", "1", *more]


def test_judging_one_adds_rows_and_leaves_the_others(place: Path, capsys) -> None:
    with serving(scores_length) as server:
        assert run(["judge", "evals/new", *asked(server.url, "--rejects", "no.jsonl")]) == 0
        told = capsys.readouterr()
        assert "1 not_read" in told.out
        assert "0.909" in told.out  # 10 of the 11 that were read
        assert "1 of 12 answers have no verdict" in told.err
        questions = len(server.bodies)
        assert run(["judge", "new", "--json", *asked(server.url)]) == 0
        assert len(server.bodies) == questions
    found = json.loads(capsys.readouterr().out)
    assert found["task_types"]["all"]["missing"] == {"not_read": 1}
    assert found["spent"]["prompt_tokens"] == 0
    directory = EvalDirectory.open("evals/new")
    rows = list(directory.scores())
    assert [row.value for row in rows if row.scorer == "length"] == [5.0]
    assert len([row for row in rows if row.scorer == "judge"]) == 12
    assert {row.scorer for row in rows} == {
        "length",
        "judge",
        *(f"judge/{name}" for name in ("helpful", "follows_instruction", "format")),
    }
    [summary] = directory.summary().task_types.values()
    assert (summary.scored, summary.failures) == (11, {"not_read": 1})
    assert summary.score == pytest.approx(10 / 11)
    rejected = [json.loads(line) for line in Path("no.jsonl").read_text("utf-8").splitlines()]
    assert {row["item"] for row in rejected} == {"q3"}
    with EvalStore() as store:
        assert len(judgements(store, judge="strong")) == 4 * 12
        assert [one.name for one in indexed(store)] == ["new"]


def test_a_judge_that_was_stopped_goes_on_where_it_was(place: Path, capsys) -> None:
    """The budget ends it after some questions; then only the rest is asked."""
    with serving(scores_length) as server:
        limited = asked(server.url, "--budget-tokens", "900", "--concurrency", "1")
        assert run(["judge", "evals/old", *limited, "--max-new-tokens", "64"]) == 2
        assert "the budget is spent" in capsys.readouterr().err
        assert "judge" not in {row.scorer for row in EvalDirectory.open("evals/old").scores()}
        before = len(server.bodies)
        assert 0 < before < 36
        assert run(["judge", "evals/old", *asked(server.url), "--max-new-tokens", "64"]) == 0
        assert len(server.bodies) == 36
        assert max(server.asked.values()) == 1


def test_judging_two_and_what_people_say(place: Path, capsys, monkeypatch) -> None:
    with serving(scores_length) as server:
        assert run(["judge", "old", "new", *asked(server.url)]) == 0
        told = capsys.readouterr()
        assert "11" in told.out
        assert "the two orders disagreed, which is a tie: 0 of 11" in told.err
        assert "the longer answer won: 11 of 11, 1.000" in told.err
        for voter in ("ann", "bo"):
            monkeypatch.setattr("sys.stdin", io.StringIO("1\n" * 11))
            assert run(["vote", "old", "new", "--voter", voter, "--seed", "5"]) == 0
        told = capsys.readouterr()
        assert "1 of 12 pairs have equal answers" in told.err
        assert "bo: 11 of 11 ballots; all are decided" in told.err
        assert run(["judge", "old", "new", "--json", *asked(server.url)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcomes"]["all"]["wins"] == 11
    assert found["calibrated"]["labels"] == 11
    assert len(found["pairs"]) == 12
    assert run(["vote", "old", "new", "--results", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["outcomes"]["all"]["pairs"] == 11
    [[_, _, kappa, ballots]] = results["agreement"]["all"]["cohen"]
    assert (kappa, ballots) == (1.0, 11)
    assert run(["vote", "old", "new", "--results"]) == 0
    assert re.search(r"ann, bo +1\.00 +11", capsys.readouterr().out)


def test_usable_votes_calibrate_the_judge(place: Path, capsys, monkeypatch) -> None:
    """People call half of the answers usable, and the judge nearly all: it is set right or told."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nn\n" * 6))
    assert run(["vote", "new", "--voter", "ann"]) == 0
    assert run(["vote", "new", "--results"]) == 0
    assert "0.500" in capsys.readouterr().out
    with serving(scores_length) as server:
        assert run(["judge", "new", *asked(server.url)]) == 0
    assert "all: usable, as people would say: " in capsys.readouterr().err


def test_mistakes_are_told(place: Path, capsys) -> None:
    with serving(scores_length) as server:
        for arguments, said_ in (
            (["judge", "nwe", *asked(server.url)], "there is no evaluation here"),
            (["judge", "old", "new", "old", *asked(server.url)], "one evaluation, or two"),
            (["judge", "old", "new", "--labels", "x", *asked(server.url)], "labels are of one"),
            (["judge", "new", "--plan", "no.yaml", *asked(server.url)], "plan cannot be read"),
            (
                ["judge", "new", "--task-type", "writing/hwy", *asked(server.url)],
                "Did you mean 'writing/why'",
            ),
            (
                ["judge", "new", "--repeats", "2", "--temperature", "0", *asked(server.url)],
                "says the same each time",
            ),
            (["vote", "old", "--json"], "--json goes with --results"),
            (["vote", "old", "new", "--voter", " "], "voter: has no name"),
        ):
            assert run(arguments) == 2, arguments
            assert said_ in capsys.readouterr().err, arguments
        assert not server.bodies
    assert run(["vote", "old", "new", "--results"]) == 0
    assert "nobody has voted" in capsys.readouterr().err
