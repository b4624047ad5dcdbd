"""The other commands of ``danlu data``: what they print, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from danlu.cli.main import run

Told = Callable[..., tuple[str, str]]


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Told:
    """Run a command that must succeed (or fail with a code), and return what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    rows = [
        {"id": str(k), "prompt": f"prompt {k}", "completion": "x" * k, "task_type": f"a/t{k % 2}"}
        for k in range(1, 21)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(text, "utf-8")

    def run_it(*words: str, code: int = 0) -> tuple[str, str]:
        assert run(["data", *words]) == code
        return capsys.readouterr()

    run_it("import", "a.jsonl", "-n", "mine")
    return run_it


def test_edits_and_ledger(told: Told) -> None:
    told("drop", "mine", "--id", "1", "--id", "2", "--reason", "odd", "-n", "mine")
    out, _ = told("ledger", "mine", "--fate", "dropped")
    assert [line.split() for line in out.splitlines()] == [
        ["id", "task_type", "fate", "rule", "detail"],
        ["1", "a/t1", "dropped", "by", "hand", "odd"],
        ["2", "a/t0", "dropped", "by", "hand", "odd"],
    ]
    out, _ = told("ledger", "mine", "--id", "3", "--json")
    assert json.loads(out) == {
        "id": "3", "task_type": "a/t1", "fate": "kept", "rule": "", "value": None, "limit": None,
        "partner": None, "detail": "",
    }  # fmt: skip
    _, err = told("ledger", "mine", "--limit", "3")
    assert "the first 3 are shown" in err
    assert "no row is so" in told("ledger", "mine", "--rule", "novelty")[1]
    told("tag", "mine", "--add", "t", "-n", "mine")
    told("retype", "mine", "b/c", "--id", "3", "-n", "mine")
    out, _ = told("show", "mine", "--id", "3", "--json")
    assert (json.loads(out)["task_type"], json.loads(out)["tags"]) == ("b/c", ["t"])
    out, _ = told("log", "mine", "--json")
    assert [row["operation"] for row in json.loads(out)] == ["retype", "tag", "drop", "import"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["drop", "mine"], "say which records"),
        (["drop", "mine", "--id", "99"], "no record is chosen"),
        (["tag", "mine"], "say --add TAG or --remove TAG"),
        (["retype", "mine", "b", "--id", "3"], "two levels"),
        (["split", "mine", "--share", "1"], "above 0 and below 1"),
        (["split", "nine"], "Did you mean 'mine'?"),
        (["export", "mine", "-o", "x.txt"], ".json or .jsonl"),
        (["export", "mine", "-o", "x.json", "--format", "alpca"], "'alpca' is not one of"),
        (["export", "mine", "-o", "x.json", "--jsonl"], "are for --format hub"),
        (["sql", "mine", "SELECT x FROM records"], "Error: SQL: Binder Error"),
        (["diff", "mine", "mine@7"], "has 1 versions, and no number 7"),
        (["ledger", "a.jsonl"], "there is no dataset 'a.jsonl'"),
        (["label", "mine", "--limit", "7"], "above 0 and at most 1"),
    ],
)
def test_mistakes_are_told_without_a_traceback(told: Told, words: list[str], reason: str) -> None:
    assert reason in told(*words, code=2)[1]


def test_retype_holds_to_the_taxonomy(told: Told, tmp_path: Path) -> None:
    (tmp_path / "types.yaml").write_text("a:\n  t0:\n  t1:\n")
    told("import", "a.jsonl", "-n", "typed", "--taxonomy", "types.yaml")
    _, err = told("retype", "typed", "a/t2", "--id", "3", code=2)
    assert "'a/t2' is not in the taxonomy. Did you mean" in err
    told("retype", "typed", "a/t0", "--id", "3")


def test_split_and_diff(told: Told) -> None:
    out, err = told("split", "mine", "--share", "0.2", "-n", "mine")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["a/t0", "10", "8", "2", "20.0%"],
        ["a/t1", "10", "8", "2", "20.0%"],
    ]
    assert "mine-train = v" in err
    out, _ = told("split", "mine", "--share", "0.2", "--json")
    parts = json.loads(out)
    assert (parts["train"]["records"], parts["eval"]["records"]) == (16, 4)
    out, err = told("diff", "mine", "mine-train")
    assert out.splitlines()[1].split()[:5] == ["a/t0", "10", "→", "8", "2"]
    assert err.startswith("20 → 16 records")
    out, _ = told("diff", "mine", "mine", "--json", "--weighting", "record")
    assert json.loads(out)["task_types"]["a/t0"]["after"]["loss_share"] == 0.5


def test_diff_in_tokens(told: Told, tmp_path: Path, tiny_tokenizer) -> None:
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    out, _ = told("diff", "mine", "mine", "--model", str(tmp_path / "model"), "--json")
    found = json.loads(out)
    texts = [f"prompt {k}" for k in range(1, 21)] + ["x" * k for k in range(1, 21)]
    expected = sum(len(tiny_tokenizer(text)["input_ids"]) for text in texts)
    assert (found["unit"], found["before"]["length"]) == ("tokens", expected)


def test_sql(told: Told) -> None:
    query = "SELECT task_type, count(*) AS n, avg(length(answer)) AS a FROM records GROUP BY ALL"
    out, _ = told("sql", "mine", query + " ORDER BY 1")
    assert out.splitlines()[1].split() == ["a/t0", "10", "11"]
    out, err = told("sql", "mine", "SELECT id FROM records", "--limit", "4")
    assert len(out.splitlines()) == 5
    assert "20 rows; the first 4" in err
    out, _ = told("sql", "a.jsonl", "SELECT id FROM records LIMIT 2", "--json")
    assert [json.loads(line) for line in out.splitlines()] == [{"id": "1"}, {"id": "2"}]


def test_export(told: Told, tmp_path: Path) -> None:
    out, err = told("export", "mine", "-o", "x.jsonl", "--format", "openai")
    assert out.splitlines()[-1].split() == ["all", "20"]
    assert "no row has: id, task type" in err
    out, _ = told("export", "mine", "-o", "hub", "--format", "hub", "--eval", "mine", "--json")
    assert json.loads(out)["records"] == 40
    assert (tmp_path / "hub" / "README.md").is_file()


def test_label(told: Told, tmp_path: Path) -> None:
    rows = [{"prompt": "prompt 3", "completion": "x"}, {"prompt": "天地玄黄", "completion": "x"}]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told("import", "a.jsonl", "b.jsonl", "-n", "both")  # "prompt 3" is like a/t1 and a/t0 alike
    out, err = told("label", "both", "--by", "neighbours", "--limit", "0.1", "-n", "both")
    assert "1 edited: label by neighbours" in err
    assert "nothing is like it (0.0)" in err
    assert "tried on 20 labelled records" in err
    assert "that is little: raise --limit" in err  # the task types were given by turns
    out, _ = told("label", "both@1", "--by", "neighbours", "--limit", "0.1", "--json")
    assert json.loads(out)["is_new"] is False


def test_several_data_for_show_and_stats(told: Told) -> None:
    out, _ = told("stats", "mine", "a.jsonl", "--json")
    assert json.loads(out)["all"]["records"] == 40


def test_progress_goes_to_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from danlu.cli.data.common import progress_bar

    with progress_bar() as silent:
        silent("x", 1, 2)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar() as bar:
        bar("import: records", 1000, None)
        bar("import: records", 2000, 2000)
        out, err = capsys.readouterr()
    assert out == ""
    assert "import: records" in err + capsys.readouterr().err
